-- AlterTable: what a model asks of its sandbox.
ALTER TABLE "model_versions" ADD COLUMN "rights" JSONB NOT NULL DEFAULT '{}';
