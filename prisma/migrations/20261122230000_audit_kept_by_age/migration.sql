-- What may go is told by its age alone: a statement can hold any text, and be what is called.
DROP TRIGGER "audit_events_kept" ON "audit_events";
DROP FUNCTION remove_audit_events(DOUBLE PRECISION, INTEGER);

-- Hours: how long a day is depends on a session's time zone, as names depend on its search path.
CREATE OR REPLACE FUNCTION keep_audit_events() RETURNS trigger LANGUAGE plpgsql
  SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' AND OLD.at <= now() - interval '24 hours' THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'audit_events is only added to';
END $$;

CREATE TRIGGER "audit_events_kept" BEFORE UPDATE OR TRUNCATE ON "audit_events"
  FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_events();
CREATE TRIGGER "audit_events_kept_for_a_day" BEFORE DELETE ON "audit_events"
  FOR EACH ROW EXECUTE FUNCTION keep_audit_events();

-- Also where triggers are off for a session.
ALTER TABLE "audit_events" ENABLE ALWAYS TRIGGER "audit_events_kept";
ALTER TABLE "audit_events" ENABLE ALWAYS TRIGGER "audit_events_kept_for_a_day";
