-- AlterTable
ALTER TABLE "attempts" ADD COLUMN "model_version_id" UUID;
