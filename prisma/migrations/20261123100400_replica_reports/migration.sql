ALTER TABLE "consumers"
  ADD COLUMN "replica_holder" TEXT,
  ADD COLUMN "replica_report" INTEGER,
  ADD COLUMN "replicas_reported_at" TIMESTAMPTZ(6);
