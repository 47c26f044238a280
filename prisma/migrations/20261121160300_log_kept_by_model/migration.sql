-- What Prisma's schema cannot say.

-- Attempts that still have a log, by their age, and by the model version that may say less.
CREATE INDEX "attempts_log_not_empty_idx" ON "attempts"("ended_at") WHERE "log" <> '';
CREATE INDEX "attempts_log_kept_by_model_idx" ON "attempts"("model_version_id", "ended_at")
  WHERE "log" <> '' AND "model_version_id" IS NOT NULL;
