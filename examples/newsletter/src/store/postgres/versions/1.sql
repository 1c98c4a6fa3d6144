-- Two addresses that differ in the case of ASCII letters alone are one, in every locale: hence the collation.
CREATE TABLE newsletter.readers (
    email text NOT NULL,
    name text NOT NULL,
    token text NOT NULL UNIQUE
);
CREATE UNIQUE INDEX readers_by_email ON newsletter.readers (lower(email COLLATE "C"));

CREATE TABLE newsletter.sends (
    id text PRIMARY KEY,
    subject text NOT NULL,
    body text NOT NULL,
    started_at timestamptz NOT NULL,
    total integer NOT NULL,
    -- Whether the queue has a task for every reader.
    queued boolean NOT NULL DEFAULT false,
    sent integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    unsubscribed integer NOT NULL DEFAULT 0,
    repeated integer NOT NULL DEFAULT 0,
    last_error text,
    summary text
) WITH (fillfactor = 50); -- Each mail counts itself here: room for the new version beside the old one.
CREATE INDEX sends_by_start ON newsletter.sends (started_at);

CREATE TABLE newsletter.deliveries (
    send text NOT NULL,
    email text NOT NULL,
    -- waiting, sent, failed or unsubscribed
    fate text NOT NULL DEFAULT 'waiting',
    error text,
    -- Whose it is, and until when.
    task text,
    task_until timestamptz,
    PRIMARY KEY (send, email)
) WITH (fillfactor = 70);

CREATE TABLE newsletter.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    send text NOT NULL,
    email text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL
);
