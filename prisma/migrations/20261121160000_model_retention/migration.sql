-- AlterTable
ALTER TABLE "model_versions" ADD COLUMN "input_retention_s" INTEGER,
ADD COLUMN "log_retention_s" INTEGER;
