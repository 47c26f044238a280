-- Who may come in: keys, people, and whose the models are.
-- CreateEnum
CREATE TYPE "access_role" AS ENUM ('submit', 'publish', 'operate', 'admin');

-- AlterTable: nobody knows who registered those that are there.
ALTER TABLE "models" ADD COLUMN "owner" TEXT NOT NULL DEFAULT 'operator';

-- CreateIndex
CREATE INDEX "tasks_owner_seq_idx" ON "tasks"("owner", "seq");

-- CreateTable
CREATE TABLE "keys" (
    "id" TEXT NOT NULL,
    "secret_sha256" BYTEA NOT NULL,
    "name" TEXT NOT NULL,
    "role" "access_role" NOT NULL,
    "owner" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by" TEXT NOT NULL,
    "expires_at" TIMESTAMPTZ(6),
    "last_used_at" TIMESTAMPTZ(6),
    "revoked_at" TIMESTAMPTZ(6),

    CONSTRAINT "keys_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "users" (
    "user_name" TEXT NOT NULL,
    "password_hash" TEXT NOT NULL,
    "password_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "role" "access_role" NOT NULL,
    "created_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "created_by" TEXT NOT NULL,
    "last_login_at" TIMESTAMPTZ(6),
    "locked_at" TIMESTAMPTZ(6),

    CONSTRAINT "users_pkey" PRIMARY KEY ("user_name")
);

-- CreateTable
CREATE TABLE "login_failures" (
    "subject" TEXT NOT NULL,
    "failures" INTEGER NOT NULL,
    "failed_at" TIMESTAMPTZ(6) NOT NULL,
    "blocked_until" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "login_failures_pkey" PRIMARY KEY ("subject")
);

-- CreateIndex
CREATE INDEX "login_failures_failed_at_idx" ON "login_failures"("failed_at");
