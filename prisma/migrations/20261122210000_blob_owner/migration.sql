-- AlterTable
ALTER TABLE "blobs" ADD COLUMN "owner" TEXT;
