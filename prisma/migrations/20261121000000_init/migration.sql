-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "public";

-- CreateEnum
CREATE TYPE "pull_policy" AS ENUM ('missing', 'always', 'never');

-- CreateEnum
CREATE TYPE "blob_state" AS ENUM ('pending', 'stored', 'deleting');

-- CreateEnum
CREATE TYPE "task_state" AS ENUM ('PENDING', 'QUEUED', 'RUNNING', 'FINISHED', 'FAILED', 'CANCELLED', 'EXPIRED');

-- CreateEnum
CREATE TYPE "attempt_outcome" AS ENUM ('finished', 'failed', 'fault', 'released', 'lost', 'cancelled');

-- CreateEnum
CREATE TYPE "consumer_state" AS ENUM ('ready', 'engine_away', 'gone');

-- CreateTable
CREATE TABLE "installations" (
    "id" TEXT NOT NULL,
    "singleton" BOOLEAN NOT NULL DEFAULT true,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "installations_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "leaders" (
    "name" TEXT NOT NULL,
    "holder" TEXT NOT NULL,
    "leader_until" TIMESTAMPTZ(6) NOT NULL,
    "steady_since" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "leaders_pkey" PRIMARY KEY ("name")
);

-- CreateTable
CREATE TABLE "models" (
    "human_readable_id" TEXT NOT NULL,
    "description" TEXT NOT NULL,
    "current_version" INTEGER NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "models_pkey" PRIMARY KEY ("human_readable_id")
);

-- CreateTable
CREATE TABLE "model_versions" (
    "id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "human_readable_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "container_tag" TEXT NOT NULL,
    "use_gpu" BOOLEAN NOT NULL,
    "pull_policy" "pull_policy" NOT NULL,
    "timeout_s" INTEGER,
    "files_blob_id" UUID,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "model_versions_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "blobs" (
    "id" UUID NOT NULL,
    "state" "blob_state" NOT NULL,
    "bytes" BIGINT,
    "sha256" TEXT,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "blobs_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "tasks" (
    "uid" TEXT NOT NULL,
    "seq" BIGSERIAL NOT NULL,
    "state" "task_state" NOT NULL DEFAULT 'PENDING',
    "model_version_id" UUID NOT NULL,
    "use_gpu" BOOLEAN NOT NULL,
    "input_blob_id" UUID,
    "output_blob_id" UUID,
    "attempt" INTEGER NOT NULL DEFAULT 1,
    "consumer_id" TEXT,
    "ticket_sent_at" TIMESTAMPTZ(6),
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ended_at" TIMESTAMPTZ(6),
    "deleted_at" TIMESTAMPTZ(6),

    CONSTRAINT "tasks_pkey" PRIMARY KEY ("uid")
);

-- CreateTable
CREATE TABLE "attempts" (
    "task_uid" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "consumer_id" TEXT NOT NULL,
    "epoch" INTEGER NOT NULL,
    "holder" TEXT NOT NULL,
    "lease_until" TIMESTAMPTZ(6) NOT NULL,
    "claimed_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ended_at" TIMESTAMPTZ(6),
    "outcome" "attempt_outcome",
    "reason" TEXT,
    "detail" TEXT,
    "exit_code" INTEGER,
    "log" TEXT,
    "output_blob_id" UUID,

    CONSTRAINT "attempts_pkey" PRIMARY KEY ("task_uid","number")
);

-- CreateTable
CREATE TABLE "consumers" (
    "id" TEXT NOT NULL,
    "holder" TEXT NOT NULL,
    "version" TEXT NOT NULL,
    "state" "consumer_state" NOT NULL,
    "slots" INTEGER NOT NULL,
    "gpu_uuid" TEXT,
    "memory_mib" INTEGER NOT NULL,
    "labels" JSONB NOT NULL,
    "heartbeat_at" TIMESTAMPTZ(6) NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "consumers_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "installations_singleton_key" ON "installations"("singleton");

-- CreateIndex
CREATE UNIQUE INDEX "model_versions_files_blob_id_key" ON "model_versions"("files_blob_id");

-- CreateIndex
CREATE UNIQUE INDEX "model_versions_human_readable_id_number_key" ON "model_versions"("human_readable_id", "number");

-- CreateIndex
CREATE INDEX "blobs_state_created_at_idx" ON "blobs"("state", "created_at");

-- CreateIndex
CREATE UNIQUE INDEX "tasks_seq_key" ON "tasks"("seq");

-- CreateIndex
CREATE UNIQUE INDEX "tasks_input_blob_id_key" ON "tasks"("input_blob_id");

-- CreateIndex
CREATE UNIQUE INDEX "tasks_output_blob_id_key" ON "tasks"("output_blob_id");

-- CreateIndex
CREATE INDEX "tasks_state_use_gpu_seq_idx" ON "tasks"("state", "use_gpu", "seq");

-- CreateIndex
CREATE INDEX "tasks_consumer_id_state_idx" ON "tasks"("consumer_id", "state");

-- CreateIndex
CREATE UNIQUE INDEX "attempts_output_blob_id_key" ON "attempts"("output_blob_id");

-- CreateIndex
CREATE INDEX "attempts_ended_at_lease_until_idx" ON "attempts"("ended_at", "lease_until");

-- AddForeignKey
ALTER TABLE "model_versions" ADD CONSTRAINT "model_versions_human_readable_id_fkey" FOREIGN KEY ("human_readable_id") REFERENCES "models"("human_readable_id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "model_versions" ADD CONSTRAINT "model_versions_files_blob_id_fkey" FOREIGN KEY ("files_blob_id") REFERENCES "blobs"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "tasks" ADD CONSTRAINT "tasks_model_version_id_fkey" FOREIGN KEY ("model_version_id") REFERENCES "model_versions"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "tasks" ADD CONSTRAINT "tasks_input_blob_id_fkey" FOREIGN KEY ("input_blob_id") REFERENCES "blobs"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "tasks" ADD CONSTRAINT "tasks_output_blob_id_fkey" FOREIGN KEY ("output_blob_id") REFERENCES "blobs"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "attempts" ADD CONSTRAINT "attempts_output_blob_id_fkey" FOREIGN KEY ("output_blob_id") REFERENCES "blobs"("id") ON DELETE SET NULL ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "attempts" ADD CONSTRAINT "attempts_task_uid_fkey" FOREIGN KEY ("task_uid") REFERENCES "tasks"("uid") ON DELETE RESTRICT ON UPDATE CASCADE;

-- What Prisma's schema cannot say.

-- A task that waits for its turn is looked for among millions of ended ones.
CREATE INDEX "tasks_backlog_idx" ON "tasks"("use_gpu", "seq") WHERE "state" = 'PENDING';

-- Every change of a task's state, or its deletion, wakes whoever listens: held requests, held
-- renewals, the dispatcher. Delivered at commit, so a listener that reads sees the change.
CREATE FUNCTION notify_task_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('task_changed', NEW.uid || ' ' || NEW.state);
  RETURN NULL;
END $$;

CREATE TRIGGER "tasks_changed" AFTER INSERT OR UPDATE OF "state", "deleted_at" ON "tasks"
  FOR EACH ROW EXECUTE FUNCTION notify_task_changed();
