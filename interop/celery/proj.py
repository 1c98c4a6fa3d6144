"""The Celery application of these tests: the same tasks as src/main.rs."""

import os
import time

import redis
from celery import Celery

url = os.environ["INTEROP_URL"]
app = Celery("proj", broker=url, backend=url)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=4,
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("INTEROP_VISIBILITY", "3600")),
        # Look every second, not every hundred: the tests wait for it.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
    worker_hijack_root_logger=False,
    task_track_started=False,
)
notes = redis.Redis.from_url(url.rsplit("/", 1)[0] + "/15")


def write_note(key):
    notes.hincrby("notes", key, 1)
    notes.hincrby("places", f"celery {key}", 1)


@app.task
def add(x, y):
    return x + y


@app.task
def echo(value):
    return value


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail(why):
    raise KeyError(why)


@app.task
def note(key):
    write_note(key)
    return key


@app.task
def slow_note(key, seconds):
    time.sleep(seconds)
    write_note(key)
    return key


@app.task
def failed(task_id):
    write_note(f"failed {task_id}")
