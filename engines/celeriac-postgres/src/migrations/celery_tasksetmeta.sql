-- Celery's own table of groups, as Celery 5.7 makes it where there is none.
-- Source: Celery 5.7, `celery/backends/database/models.py`.

CREATE TABLE celery_tasksetmeta (
    id         integer NOT NULL,
    taskset_id varchar(155),
    result     bytea,
    date_done  timestamp without time zone,
    PRIMARY KEY (id),
    UNIQUE (taskset_id)
);
CREATE INDEX ix_celery_tasksetmeta_date_done ON celery_tasksetmeta (date_done);
