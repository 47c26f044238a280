-- Its part, as it was.
UPDATE "consumers" SET "share" = "share" || '{"cpus_per_task": null}';
