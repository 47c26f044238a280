-- AlterEnum
ALTER TYPE "consumer_state" ADD VALUE 'quarantined';

-- AlterTable
ALTER TABLE "model_versions" ADD COLUMN "retries" INTEGER NOT NULL DEFAULT 0;

-- AlterTable
ALTER TABLE "tasks" ADD COLUMN "cancel_requested_at" TIMESTAMPTZ(6),
ADD COLUMN "not_before" TIMESTAMPTZ(6);

-- AlterTable
ALTER TABLE "consumers" ADD COLUMN "draining" BOOLEAN NOT NULL DEFAULT false,
ADD COLUMN "reason" TEXT;

-- What Prisma's schema cannot say.

-- A request to cancel is news too: the holder of the lease hears of it in its held renewal.
DROP TRIGGER "tasks_changed" ON "tasks";
CREATE TRIGGER "tasks_changed"
  AFTER INSERT OR UPDATE OF "state", "deleted_at", "cancel_requested_at" ON "tasks"
  FOR EACH ROW EXECUTE FUNCTION notify_task_changed();
