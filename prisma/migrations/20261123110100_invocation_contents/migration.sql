-- Which blob was stored as the content of which invocation.
CREATE TABLE "invocation_contents" (
    "blob_id" UUID NOT NULL,
    "owner" TEXT NOT NULL,
    "invocation_id" INTEGER NOT NULL,
    "stored_at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "invocation_contents_pkey" PRIMARY KEY ("blob_id"),
    CONSTRAINT "invocation_contents_blob_id_fkey" FOREIGN KEY ("blob_id") REFERENCES "blobs"("id") ON DELETE CASCADE ON UPDATE CASCADE
);
