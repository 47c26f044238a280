ALTER TABLE "model_versions" ADD COLUMN "no_room_since" TIMESTAMPTZ(6);
