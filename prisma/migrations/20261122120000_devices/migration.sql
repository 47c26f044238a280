-- AlterTable: what a run of a model needs.
ALTER TABLE "model_versions"
  ADD COLUMN "gpu_count" INTEGER NOT NULL DEFAULT 1,
  ADD COLUMN "gpu_memory_mib" INTEGER,
  ADD COLUMN "cpus" DOUBLE PRECISION,
  ADD COLUMN "memory_mib" INTEGER,
  ADD COLUMN "shm_mib" INTEGER,
  ADD COLUMN "labels" JSONB NOT NULL DEFAULT '{}',
  ADD COLUMN "unservable_since" TIMESTAMPTZ(6);

-- AlterTable: what a consumer has. It tells that anew with its next heartbeat.
ALTER TABLE "consumers"
  ADD COLUMN "device" JSONB,
  ADD COLUMN "host" JSONB,
  ADD COLUMN "share" JSONB,
  ADD COLUMN "process" TEXT;

UPDATE "consumers" SET
  "device" = CASE WHEN "gpu_uuid" IS NOT NULL THEN jsonb_build_object(
    'uuid', "gpu_uuid", 'name', NULL, 'memory_mib', NULL, 'driver', NULL) END,
  "host" = jsonb_build_object('cpus', "slots", 'memory_mib', "memory_mib"),
  "share" = jsonb_build_object(
    'cpus', "slots", 'memory_mib', "memory_mib", 'memory_per_task_mib', NULL),
  "process" = "id";

ALTER TABLE "consumers"
  ALTER COLUMN "host" SET NOT NULL,
  ALTER COLUMN "share" SET NOT NULL,
  ALTER COLUMN "process" SET NOT NULL,
  DROP COLUMN "gpu_uuid",
  DROP COLUMN "memory_mib";

-- AlterTable: of whom a task has devices beside those of its consumer.
ALTER TABLE "tasks" ADD COLUMN "lenders" TEXT[] DEFAULT ARRAY[]::TEXT[];
ALTER TABLE "attempts" ADD COLUMN "lenders" TEXT[] DEFAULT ARRAY[]::TEXT[];

-- Both indexes of it go with the column.
ALTER TABLE "tasks" DROP COLUMN "use_gpu";

-- What Prisma's schema cannot say.

-- Who is under way. (Who waits is found in "tasks_unended_idx": by model version, the oldest first.)
CREATE INDEX "tasks_busy_idx" ON "tasks"("consumer_id") WHERE "state" IN ('QUEUED', 'RUNNING');
