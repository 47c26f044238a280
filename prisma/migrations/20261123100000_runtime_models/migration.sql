CREATE TYPE "model_kind" AS ENUM ('batch', 'runtime');

ALTER TABLE "model_versions"
  ADD COLUMN "kind" "model_kind" NOT NULL DEFAULT 'batch',
  ADD COLUMN "contract" JSONB,
  ADD COLUMN "has_contract_file" BOOLEAN NOT NULL DEFAULT false,
  ADD COLUMN "min_replicas" INTEGER NOT NULL DEFAULT 0,
  ADD COLUMN "max_replicas" INTEGER NOT NULL DEFAULT 1,
  ADD COLUMN "idle_timeout_s" INTEGER NOT NULL DEFAULT 300,
  ADD COLUMN "target_in_flight" INTEGER NOT NULL DEFAULT 8,
  ADD COLUMN "max_batch_size" INTEGER NOT NULL DEFAULT 1,
  ADD COLUMN "max_delay_ms" INTEGER NOT NULL DEFAULT 5;
