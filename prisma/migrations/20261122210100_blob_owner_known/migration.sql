-- Whose the zips are that are stored already.
UPDATE "blobs" b SET "owner" = t."owner" FROM "tasks" t
 WHERE b."id" IN (t."input_blob_id", t."output_blob_id") AND b."owner" IS NULL;
UPDATE "blobs" b SET "owner" = m."owner"
  FROM "model_versions" v JOIN "models" m ON m."human_readable_id" = v."human_readable_id"
 WHERE b."id" = v."files_blob_id" AND b."owner" IS NULL;
