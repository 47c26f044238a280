CREATE TRIGGER "models_inserted" AFTER INSERT ON "models"
  FOR EACH STATEMENT EXECUTE FUNCTION notify_replicas_changed();
CREATE TRIGGER "models_changed" AFTER UPDATE ON "models"
  FOR EACH ROW EXECUTE FUNCTION notify_replicas_changed();
