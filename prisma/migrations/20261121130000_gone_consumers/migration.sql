-- Prisma's schema language has no partial indexes.

-- What a consumer could still resume.
CREATE INDEX "attempts_lost_idx" ON "attempts"("consumer_id") WHERE "outcome" = 'lost';
