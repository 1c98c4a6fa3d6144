-- Version 1. Times are microseconds since 1970 in UTC; the views at the end show them as people write them.
--
-- A message is one row of `messages`, which hardly ever changes while it waits. Where it is stands in one of three
-- narrow tables: `waiting`, `held` or `parked`. So a claim and a settlement write a few bytes, however large the body.

CREATE TABLE celeriac_schema (
    version     INTEGER PRIMARY KEY,
    about       TEXT NOT NULL,
    migrated_at TEXT NOT NULL
) STRICT;

-- The numbers that are given out, each once for ever.
CREATE TABLE counters (
    only      INTEGER PRIMARY KEY CHECK (only = 1),
    ticket    INTEGER NOT NULL,
    broadcast INTEGER NOT NULL
) STRICT;
INSERT INTO counters VALUES (1, 0, 0);

CREATE TABLE queues (
    name        TEXT PRIMARY KEY,
    declared_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    key          INTEGER PRIMARY KEY,
    task_id      TEXT NOT NULL,
    task         TEXT NOT NULL,
    queue        TEXT NOT NULL,
    priority     INTEGER NOT NULL,
    published_at INTEGER NOT NULL,
    due          INTEGER,                      -- the last due time it had, whether it is parked or not
    attempts     INTEGER NOT NULL DEFAULT 0,   -- claims that have ended otherwise than by removing it
    losses       INTEGER NOT NULL DEFAULT 0,
    redelivered  INTEGER NOT NULL DEFAULT 0,
    headers      BLOB NOT NULL,
    properties   BLOB NOT NULL,
    body         BLOB NOT NULL
) STRICT;
CREATE INDEX messages_by_task_id ON messages (task_id);

-- Ready to be claimed, in the order of claiming.
CREATE TABLE waiting (
    queue    TEXT NOT NULL,
    priority INTEGER NOT NULL,
    position INTEGER NOT NULL,
    key      INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    PRIMARY KEY (queue, priority DESC, position)
) STRICT, WITHOUT ROWID;

-- In a consumer's hands.
CREATE TABLE held (
    consumer   INTEGER NOT NULL,
    key        INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    queue      TEXT NOT NULL,
    priority   INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    PRIMARY KEY (consumer, key)
) STRICT, WITHOUT ROWID;

-- Waiting for their due time.
CREATE TABLE parked (
    queue    TEXT NOT NULL,
    due      INTEGER NOT NULL,
    key      INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    PRIMARY KEY (queue, due, key)
) STRICT, WITHOUT ROWID;

-- Who consumes. A lease is renewed by one update here, whatever is held.
CREATE TABLE consumers (
    id          INTEGER PRIMARY KEY,
    worker      TEXT NOT NULL,
    start_id    TEXT NOT NULL,
    queues      TEXT NOT NULL,                 -- a JSON array
    started_at  INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

CREATE TABLE dead (
    entry        INTEGER PRIMARY KEY,
    task_id      TEXT NOT NULL,
    task         TEXT NOT NULL,
    queue        TEXT NOT NULL,
    priority     INTEGER NOT NULL,
    reason       TEXT NOT NULL,
    detail       TEXT NOT NULL,
    published_at INTEGER NOT NULL,
    died_at      INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    headers      BLOB NOT NULL,
    properties   BLOB NOT NULL,
    body         BLOB NOT NULL
) STRICT;
CREATE INDEX dead_by_task_id ON dead (task_id);
CREATE INDEX dead_by_queue ON dead (queue);

CREATE TABLE unique_keys (
    name    TEXT PRIMARY KEY,
    task_id TEXT NOT NULL,
    until   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX unique_keys_by_end ON unique_keys (until);

CREATE TABLE revocations (
    task_id   TEXT PRIMARY KEY,
    terminate INTEGER NOT NULL,
    attempt   INTEGER,
    expires   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_end ON revocations (expires);

CREATE TABLE broadcasts (
    cursor  INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT;

CREATE TABLE results (
    task_id   TEXT PRIMARY KEY,
    state     TEXT NOT NULL,
    attempt   INTEGER NOT NULL,
    stored_at INTEGER NOT NULL,
    expires   INTEGER,
    document  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX results_by_end ON results (expires) WHERE expires IS NOT NULL;

CREATE TABLE chords (
    group_id      TEXT PRIMARY KEY,
    size          INTEGER,                     -- none until it is said
    joined        INTEGER NOT NULL DEFAULT 0,
    claimed_until INTEGER NOT NULL DEFAULT 0,
    finished      INTEGER NOT NULL DEFAULT 0,
    expires       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX chords_by_end ON chords (expires);

CREATE TABLE chord_parts (
    group_id TEXT NOT NULL,
    task_id  TEXT NOT NULL,
    place    INTEGER,
    state    TEXT NOT NULL,
    value    BLOB NOT NULL,
    PRIMARY KEY (group_id, task_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE history_cursor (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    cursor INTEGER NOT NULL
) STRICT;

CREATE TABLE history (
    seq             INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    name            TEXT,
    state           TEXT NOT NULL,
    queue           TEXT,
    worker          TEXT,
    args            TEXT,
    kwargs          TEXT,
    result          TEXT,
    exception       TEXT,
    traceback       TEXT,
    retries         INTEGER NOT NULL,
    root_id         TEXT,
    parent_id       TEXT,
    group_id        TEXT,
    eta             TEXT,
    expires         TEXT,
    sent_at         INTEGER,
    received_at     INTEGER,
    started_at      INTEGER,
    ended_at        INTEGER,
    runtime_seconds REAL,
    updated_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX history_by_update ON history (updated_at);
CREATE INDEX history_by_state ON history (state, updated_at);
CREATE INDEX history_by_name ON history (name, updated_at, state);
CREATE INDEX history_by_group ON history (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX history_by_root ON history (root_id) WHERE root_id IS NOT NULL;

CREATE TABLE timeline (
    task_id TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    source  TEXT NOT NULL,
    detail  TEXT NOT NULL,
    PRIMARY KEY (task_id, seq)
) STRICT, WITHOUT ROWID;

-- For people.

CREATE VIEW tasks_waiting AS
SELECT w.queue, w.priority, m.task, m.task_id, strftime('%Y-%m-%dT%H:%M:%fZ', w.since / 1e6, 'unixepoch') AS since,
       m.attempts, m.losses, CAST(m.headers AS TEXT) AS headers, CAST(m.body AS TEXT) AS body
FROM waiting w JOIN messages m ON m.key = w.key;

CREATE VIEW tasks_held AS
SELECT c.worker, h.queue, m.task, m.task_id, h.attempt,
       strftime('%Y-%m-%dT%H:%M:%fZ', h.claimed_at / 1e6, 'unixepoch') AS claimed_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', c.lease_until / 1e6, 'unixepoch') AS lease_until
FROM held h JOIN messages m ON m.key = h.key LEFT JOIN consumers c ON c.id = h.consumer;

CREATE VIEW tasks_parked AS
SELECT p.queue, strftime('%Y-%m-%dT%H:%M:%fZ', p.due / 1e6, 'unixepoch') AS due, p.priority, m.task, m.task_id, m.attempts
FROM parked p JOIN messages m ON m.key = p.key;

CREATE VIEW tasks_dead AS
SELECT entry, queue, task, task_id, reason, detail, attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', died_at / 1e6, 'unixepoch') AS died_at, CAST(body AS TEXT) AS body
FROM dead;

CREATE VIEW tasks_results AS
SELECT task_id, state, attempt, strftime('%Y-%m-%dT%H:%M:%fZ', stored_at / 1e6, 'unixepoch') AS stored_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires / 1e6, 'unixepoch') AS expires, CAST(document AS TEXT) AS document
FROM results;
