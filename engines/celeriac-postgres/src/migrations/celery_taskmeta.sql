-- Celery's own table of results, as Celery 5.7 makes it where there is none. Where an older Celery made it, the columns that
-- it did not know are added; its readers name their columns and do not mind.
-- Source: Celery 5.7, `celery/backends/database/models.py`.

CREATE TABLE celery_taskmeta (
    id        integer NOT NULL,
    task_id   varchar(155),
    status    varchar(50),
    result    bytea,
    date_done timestamp without time zone,
    traceback text,
    children  bytea,
    name      varchar(155),
    args      bytea,
    kwargs    bytea,
    worker    varchar(155),
    retries   integer,
    queue     varchar(155),
    stamps    bytea,
    PRIMARY KEY (id),
    UNIQUE (task_id)
);
CREATE INDEX ix_celery_taskmeta_date_done ON celery_taskmeta (date_done);
