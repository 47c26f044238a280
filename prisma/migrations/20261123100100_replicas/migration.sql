CREATE TYPE "replica_state" AS ENUM ('STARTING', 'READY', 'DRAINING', 'STOPPING', 'ENDED');

CREATE TABLE "replicas" (
    "id" UUID NOT NULL,
    "model_version_id" UUID NOT NULL,
    "consumer_id" TEXT NOT NULL,
    "lenders" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "state" "replica_state" NOT NULL DEFAULT 'STARTING',
    "address" TEXT,
    "lease_until" TIMESTAMPTZ(6) NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "ready_at" TIMESTAMPTZ(6),
    "used_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "drained_at" TIMESTAMPTZ(6),
    "ended_at" TIMESTAMPTZ(6),
    "end_reason" TEXT,
    "detail" TEXT,
    "exit_code" INTEGER,
    "out_of_memory" BOOLEAN NOT NULL DEFAULT false,
    "log" TEXT,

    CONSTRAINT "replicas_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "replicas_model_version_id_fkey" FOREIGN KEY ("model_version_id")
      REFERENCES "model_versions"("id") ON DELETE RESTRICT ON UPDATE CASCADE
);

CREATE INDEX "replicas_model_version_id_state_idx" ON "replicas"("model_version_id", "state");
CREATE INDEX "replicas_consumer_id_state_idx" ON "replicas"("consumer_id", "state");
CREATE INDEX "replicas_ended_at_idx" ON "replicas"("ended_at");

CREATE TABLE "gateways" (
    "id" UUID NOT NULL,
    "reported_at" TIMESTAMPTZ(6) NOT NULL,
    "holds" JSONB NOT NULL,
    "demand" JSONB NOT NULL,

    CONSTRAINT "gateways_pkey" PRIMARY KEY ("id")
);

-- One channel for all that gateways and consumers wait for: a replica, and which version of which model is current.
CREATE FUNCTION notify_replicas_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('replicas_changed', '');
  RETURN NULL;
END $$;

CREATE TRIGGER "replicas_inserted" AFTER INSERT ON "replicas"
  FOR EACH STATEMENT EXECUTE FUNCTION notify_replicas_changed();
CREATE TRIGGER "replicas_state_changed" AFTER UPDATE OF "state", "address" ON "replicas"
  FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.address IS DISTINCT FROM NEW.address)
  EXECUTE FUNCTION notify_replicas_changed();
