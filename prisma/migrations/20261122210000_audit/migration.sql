-- CreateTable
CREATE TABLE "audit_events" (
    "id" BIGSERIAL NOT NULL,
    "at" TIMESTAMPTZ(6) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "action" TEXT NOT NULL,
    "owner" TEXT NOT NULL,
    "credential" TEXT NOT NULL,
    "address" TEXT NOT NULL,
    "object_kind" TEXT NOT NULL,
    "object_id" TEXT,
    "details" JSONB NOT NULL DEFAULT '{}',
    "refusal" TEXT,
    "times" INTEGER NOT NULL DEFAULT 1,

    CONSTRAINT "audit_events_pkey" PRIMARY KEY ("at", "id")
);

-- What is written stays as it is, also for a statement that would change nothing.
-- What is called tells who removes: a setting could be set by every session.
CREATE FUNCTION keep_audit_events() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  called TEXT;
BEGIN
  GET DIAGNOSTICS called = PG_CONTEXT;
  IF TG_OP = 'DELETE' AND called LIKE '%PL/pgSQL function remove_audit_events(double precision,integer) line%' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'audit_events is only added to';
END $$;

CREATE TRIGGER "audit_events_kept" BEFORE UPDATE OR DELETE OR TRUNCATE ON "audit_events"
  FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_events();

-- Also where triggers are off for a session.
ALTER TABLE "audit_events" ENABLE ALWAYS TRIGGER "audit_events_kept";

-- The one way for rows to go: the oldest of those that are as old, a day at least, and no more than `most`.
CREATE FUNCTION remove_audit_events(older_than_s DOUBLE PRECISION, most INTEGER) RETURNS INTEGER
  LANGUAGE plpgsql AS $$
DECLARE
  removed INTEGER;
BEGIN
  DELETE FROM audit_events
   WHERE ctid = ANY (ARRAY(
     SELECT ctid FROM audit_events WHERE at <= now() - greatest(older_than_s, 86400) * interval '1 second'
      ORDER BY at LIMIT most FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS removed = ROW_COUNT;
  RETURN removed;
END $$;
