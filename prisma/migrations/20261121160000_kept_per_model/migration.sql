-- AlterTable
ALTER TABLE "model_versions" ADD COLUMN "input_retention_s" INTEGER,
ADD COLUMN "log_retention_s" INTEGER;

-- AlterTable
ALTER TABLE "attempts" ADD COLUMN "model_version_id" UUID;

-- What Prisma's schema cannot say.

-- Ended tasks that still have an input, by the model version that says how long it is kept.
DROP INDEX "tasks_input_kept_idx";
CREATE INDEX "tasks_input_kept_idx" ON "tasks"("model_version_id", "ended_at")
  WHERE "input_blob_id" IS NOT NULL AND "ended_at" IS NOT NULL;

-- Attempts that still have a log, by their age, and by the model version that may say less.
DROP INDEX "attempts_log_kept_idx";
CREATE INDEX "attempts_log_kept_idx" ON "attempts"("ended_at") WHERE "log" <> '';
CREATE INDEX "attempts_log_of_model_idx" ON "attempts"("model_version_id", "ended_at")
  WHERE "log" <> '' AND "model_version_id" IS NOT NULL;
