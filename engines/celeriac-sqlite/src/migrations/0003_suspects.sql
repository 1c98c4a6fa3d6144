-- Of a delivery that was lost before it is said that it begins to run: whoever only waits in a lost worker's hands is not
-- to blame. And of a chord which of its members has claimed the body: that one may claim it again.
ALTER TABLE held ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chords ADD COLUMN claimed_by TEXT NOT NULL DEFAULT '';

-- The order of the runs of a task is its retries, then its claims.
DROP VIEW tasks_results;
CREATE VIEW tasks_results AS
SELECT task_id, state, attempt / 65536 AS retries, attempt % 65536 AS attempt,
       strftime('%Y-%m-%dT%H:%M:%fZ', stored_at / 1e6, 'unixepoch') AS stored_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires / 1e6, 'unixepoch') AS expires, CAST(document AS TEXT) AS document
FROM results;
