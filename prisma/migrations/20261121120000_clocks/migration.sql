-- AlterTable
ALTER TABLE "blobs" ADD COLUMN "touched_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP;

-- AlterTable
ALTER TABLE "model_versions" ADD COLUMN "retention_s" INTEGER;

-- AlterTable
ALTER TABLE "tasks" ADD COLUMN "owner" TEXT NOT NULL DEFAULT 'anonymous',
ADD COLUMN "fetched_at" TIMESTAMPTZ(6);

-- CreateTable
CREATE TABLE "idempotency_keys" (
    "owner" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "task_uid" TEXT NOT NULL,
    "human_readable_id" TEXT NOT NULL,
    "sha256" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "idempotency_keys_pkey" PRIMARY KEY ("owner","key")
);

-- CreateIndex
CREATE INDEX "idempotency_keys_created_at_idx" ON "idempotency_keys"("created_at");

-- DropIndex
DROP INDEX "blobs_state_created_at_idx";

-- What Prisma's schema cannot say: what the sweeps look for, among millions of rows that they let be.

-- Blobs that nothing refers to yet, or no more. Of the stored ones no index by age is needed.
CREATE INDEX "blobs_unsettled_idx" ON "blobs"("state", "touched_at") WHERE "state" <> 'stored';

-- Tasks whose time in the queue runs, and how many there are.
CREATE INDEX "tasks_waiting_idx" ON "tasks"("created_at") WHERE "state" IN ('PENDING', 'QUEUED');
CREATE INDEX "tasks_waiting_owner_idx" ON "tasks"("owner") WHERE "state" IN ('PENDING', 'QUEUED');

-- Ended tasks that still have an input; an output, by the model version that says how long it is
-- kept; an output that was fetched.
CREATE INDEX "tasks_input_kept_idx" ON "tasks"("ended_at")
  WHERE "input_blob_id" IS NOT NULL AND "ended_at" IS NOT NULL;
CREATE INDEX "tasks_output_kept_idx" ON "tasks"("model_version_id", "ended_at")
  WHERE "output_blob_id" IS NOT NULL;
CREATE INDEX "tasks_output_fetched_idx" ON "tasks"("fetched_at")
  WHERE "output_blob_id" IS NOT NULL AND "fetched_at" IS NOT NULL;

-- Attempts that still have a log.
CREATE INDEX "attempts_log_kept_idx" ON "attempts"("ended_at") WHERE "log" IS NOT NULL;
