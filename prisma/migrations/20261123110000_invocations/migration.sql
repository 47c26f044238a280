-- What was asked with an id, and answered.
CREATE TABLE "invocations" (
    "owner" TEXT NOT NULL,
    "id" INTEGER NOT NULL,
    "head" TEXT NOT NULL,
    "content" BYTEA,
    "blob_id" UUID,
    "replaced_blob_id" UUID,
    "bytes" INTEGER NOT NULL,
    "stored_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(6),

    CONSTRAINT "invocations_pkey" PRIMARY KEY ("owner","id")
);

CREATE INDEX "invocations_stored_at_idx" ON "invocations"("stored_at");

CREATE INDEX "invocations_expires_at_idx" ON "invocations"("expires_at");

-- What one owner has stored, which Prisma's schema cannot say: the sum is read from the index alone.
CREATE INDEX "invocations_owner_bytes_idx" ON "invocations"("owner") INCLUDE ("bytes");
