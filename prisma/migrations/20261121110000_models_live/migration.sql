-- AlterTable
ALTER TABLE "models" ADD COLUMN "deleted_at" TIMESTAMPTZ(6);

-- What Prisma's schema cannot say.

-- Whether a version of a model is still needed is asked for every one that has files or a volume.
CREATE INDEX "tasks_unended_idx" ON "tasks"("model_version_id", "seq")
  WHERE "state" IN ('PENDING', 'QUEUED', 'RUNNING');
