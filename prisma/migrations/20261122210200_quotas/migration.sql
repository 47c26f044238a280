-- What one owner has stored, which Prisma's schema cannot say: the sum is read from the index alone.
CREATE INDEX "blobs_stored_owner_idx" ON "blobs"("owner") INCLUDE ("bytes") WHERE "state" = 'stored';

-- CreateTable
CREATE TABLE "gpu_use" (
    "owner" TEXT NOT NULL,
    "day" DATE NOT NULL,
    "gpu_s" DOUBLE PRECISION NOT NULL,

    CONSTRAINT "gpu_use_pkey" PRIMARY KEY ("owner","day")
);

-- CreateIndex
CREATE INDEX "gpu_use_day_idx" ON "gpu_use"("day");

-- CreateTable
CREATE TABLE "login_places" (
    "user_name" TEXT NOT NULL,
    "network" TEXT NOT NULL,
    "logged_in_at" TIMESTAMPTZ(6) NOT NULL,

    CONSTRAINT "login_places_pkey" PRIMARY KEY ("user_name","network")
);

-- CreateIndex
CREATE INDEX "login_places_logged_in_at_idx" ON "login_places"("logged_in_at");
