-- Broadcasts say what they are about, and carry headers, as messages of Celery's fan-out do.
ALTER TABLE broadcasts ADD COLUMN routing_key TEXT NOT NULL DEFAULT '';
ALTER TABLE broadcasts ADD COLUMN headers BLOB NOT NULL DEFAULT x'';
