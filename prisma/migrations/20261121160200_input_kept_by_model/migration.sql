-- What Prisma's schema cannot say.

-- Ended tasks that still have an input, by the model version that says how long it is kept.
CREATE INDEX "tasks_input_kept_by_model_idx" ON "tasks"("model_version_id", "ended_at")
  WHERE "input_blob_id" IS NOT NULL AND "ended_at" IS NOT NULL;
