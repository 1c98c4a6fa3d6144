-- Version 1. Runs with the search path set to the schema alone. Times are microseconds since 1970 in UTC; the views at
-- the end show them as people write them.
--
-- A message is one row of `messages`, which hardly ever changes while it waits. Where it is stands in one of three
-- narrow tables: `waiting`, `held` or `parked`. So a claim and a settlement write a few bytes, however large the body,
-- and what vacuum has to read all the time is small.
--
-- Names and ids are compared byte by byte, whatever the database's collation.

CREATE SEQUENCE tickets;

CREATE TABLE queues (
    name        text COLLATE "C" PRIMARY KEY,
    declared_at bigint NOT NULL
);

CREATE TABLE messages (
    key          bigint PRIMARY KEY,
    task_id      text COLLATE "C" NOT NULL,
    task         text COLLATE "C" NOT NULL,
    queue        text COLLATE "C" NOT NULL,
    priority     smallint NOT NULL,
    published_at bigint NOT NULL,
    due          bigint,                          -- the last due time it had, whether it is parked or not
    attempts     integer NOT NULL DEFAULT 0,      -- claims that have ended otherwise than by removing it
    losses       integer NOT NULL DEFAULT 0,
    redelivered  boolean NOT NULL DEFAULT false,
    headers      bytea NOT NULL,
    properties   bytea NOT NULL,
    body         bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
        autovacuum_analyze_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX messages_by_task_id ON messages (task_id);

-- Ready to be claimed. The index has the order of claiming.
CREATE TABLE waiting (
    queue    text COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    position bigint NOT NULL,
    key      bigint NOT NULL,
    since    bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
        autovacuum_analyze_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX waiting_in_order ON waiting (queue, priority DESC, position);

-- In a consumer's hands.
CREATE TABLE held (
    consumer   bigint NOT NULL,
    key        bigint NOT NULL,
    attempt    integer NOT NULL,
    queue      text COLLATE "C" NOT NULL,
    priority   smallint NOT NULL,
    position   bigint NOT NULL,
    claim      bigint NOT NULL,                   -- the number of the consumer's claim, from 1
    claimed_at bigint NOT NULL,
    began      boolean NOT NULL DEFAULT false,    -- said of what was lost before: it runs, and may be what kills
    PRIMARY KEY (consumer, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
        autovacuum_analyze_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 0);

-- Waiting for their due time.
CREATE TABLE parked (
    queue    text COLLATE "C" NOT NULL,
    due      bigint NOT NULL,
    key      bigint NOT NULL,
    priority smallint NOT NULL,
    PRIMARY KEY (queue, due, key)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Who consumes. A lease is renewed by one update here, within its page, whatever is held.
CREATE TABLE consumers (
    id          bigint PRIMARY KEY,
    worker      text NOT NULL,
    start_id    text NOT NULL,
    queues      text[] NOT NULL,
    started_at  bigint NOT NULL,
    lease_until bigint NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- What somebody sleeps for: `q:` and a queue, `b:` and a channel, `r:` and a task. Whoever has news takes the row out
-- and notifies; where there is no row nobody is notified. Not logged: after a crash every sleeper connects anew.
CREATE UNLOGGED TABLE sleepers (
    topic text COLLATE "C" PRIMARY KEY
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE dead (
    entry        bigint PRIMARY KEY,
    task_id      text COLLATE "C" NOT NULL,
    task         text COLLATE "C" NOT NULL,
    queue        text COLLATE "C" NOT NULL,
    priority     smallint NOT NULL,
    reason       text NOT NULL,
    detail       text NOT NULL,
    published_at bigint NOT NULL,
    died_at      bigint NOT NULL,
    attempts     integer NOT NULL,
    headers      bytea NOT NULL,
    properties   bytea NOT NULL,
    body         bytea NOT NULL
);
CREATE INDEX dead_by_task_id ON dead (task_id);
CREATE INDEX dead_by_queue ON dead (queue);

CREATE TABLE unique_keys (
    name    bytea PRIMARY KEY,
    task_id text NOT NULL,
    until   bigint NOT NULL
);
CREATE INDEX unique_keys_by_end ON unique_keys (until);

CREATE TABLE revocations (
    task_id   text COLLATE "C" PRIMARY KEY,
    terminate boolean NOT NULL,
    attempt   integer,
    expires   bigint NOT NULL
);
CREATE INDEX revocations_by_end ON revocations (expires);

-- The number of the last broadcast. Whoever broadcasts takes numbers under this row's lock, so that they become visible
-- in their order and a listener misses none.
CREATE TABLE broadcast_counter (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    last bigint NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
INSERT INTO broadcast_counter (last) VALUES (0);

CREATE TABLE broadcasts (
    cursor      bigint PRIMARY KEY,
    channel     text COLLATE "C" NOT NULL,
    sent_at     bigint NOT NULL,
    routing_key text COLLATE "C" NOT NULL,
    headers     bytea NOT NULL,
    body        bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.1);
CREATE INDEX broadcasts_by_channel ON broadcasts (channel, cursor);

-- Beside Celery's own table of results: what its columns cannot say. `document` is there only where Celery's columns
-- would not give back the very same bytes. A row speaks of Celery's row when one transaction wrote both.
CREATE TABLE results (
    task_id   text COLLATE "C" PRIMARY KEY,
    state     text NOT NULL,
    attempt   bigint NOT NULL,
    stored_at bigint NOT NULL,
    expires   bigint,
    group_id  text,
    parent_id text,
    document  bytea
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX results_by_end ON results (expires) WHERE expires IS NOT NULL;

CREATE TABLE chords (
    group_id      text COLLATE "C" PRIMARY KEY,
    size          bigint,                          -- none until it is said
    joined        bigint NOT NULL DEFAULT 0,
    claimed_until bigint NOT NULL DEFAULT 0,
    claimed_by    text,                            -- the member that claimed last
    finished      boolean NOT NULL DEFAULT false,
    expires       bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX chords_by_end ON chords (expires);

CREATE TABLE chord_parts (
    group_id text COLLATE "C" NOT NULL,
    task_id  text COLLATE "C" NOT NULL,
    place    bigint,
    state    text NOT NULL,
    value    bytea NOT NULL,
    PRIMARY KEY (group_id, task_id)
);

CREATE TABLE history_cursor (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    cursor bigint NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE history (
    seq             bigint NOT NULL DEFAULT nextval('tickets'),
    id              text COLLATE "C" PRIMARY KEY,
    name            text COLLATE "C",
    state           text COLLATE "C" NOT NULL,
    queue           text COLLATE "C",
    worker          text COLLATE "C",
    args            text,
    kwargs          text,
    result          text,
    exception       text,
    traceback       text,
    retries         bigint NOT NULL,
    root_id         text COLLATE "C",
    parent_id       text COLLATE "C",
    group_id        text COLLATE "C",
    eta             text,
    expires         text,
    sent_at         bigint,
    received_at     bigint,
    started_at      bigint,
    ended_at        bigint,
    runtime_seconds double precision,
    updated_at      bigint NOT NULL
);
CREATE INDEX history_by_update ON history (updated_at, seq);
CREATE INDEX history_by_state ON history (state, updated_at);
CREATE INDEX history_by_name ON history (name, updated_at);
CREATE INDEX history_by_group ON history (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX history_by_root ON history (root_id) WHERE root_id IS NOT NULL;

CREATE TABLE timeline (
    task_id text COLLATE "C" NOT NULL,
    seq     bigint NOT NULL,
    at      bigint NOT NULL,
    kind    text NOT NULL,
    source  text NOT NULL,
    detail  text NOT NULL,
    PRIMARY KEY (task_id, seq)
);

-- For people.

CREATE FUNCTION at(micros bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_timestamp(least(greatest(micros, -62135596800000000), 253402300799000000) / 1000000.0);

CREATE FUNCTION legible(bytes bytea) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN encode(substr(bytes, 1, 2000), 'escape');

CREATE VIEW tasks_waiting AS
SELECT w.queue, w.priority, m.task, m.task_id, at(w.since) AS since, m.attempts, m.losses,
       legible(m.headers) AS headers, legible(m.body) AS body
FROM waiting w JOIN messages m USING (key);

CREATE VIEW tasks_held AS
SELECT c.worker, h.queue, m.task, m.task_id, h.attempt, at(h.claimed_at) AS claimed_at, at(c.lease_until) AS lease_until
FROM held h JOIN messages m USING (key) LEFT JOIN consumers c ON c.id = h.consumer;

CREATE VIEW tasks_parked AS
SELECT p.queue, at(p.due) AS due, p.priority, m.task, m.task_id, m.attempts
FROM parked p JOIN messages m USING (key);

CREATE VIEW tasks_dead AS
SELECT entry, queue, task, task_id, reason, detail, attempts, at(died_at) AS died_at, legible(body) AS body
FROM dead;

CREATE VIEW workers AS
SELECT c.worker, c.queues, at(c.started_at) AS started_at, at(c.lease_until) AS lease_until,
       (SELECT count(*) FROM held h WHERE h.consumer = c.id) AS held
FROM consumers c;
