"""Writes and reads results with the real Celery's database backend, for the tests of celeriac-postgres.

    database_results.py write URL    runs tasks (in this process, stored as a worker stores them); prints {name: id}
    database_results.py read URL     reads {name: id} from standard input; prints {name: what AsyncResult says}
"""

import datetime
import decimal
import json
import sys
import uuid

import celery
from celery import states
from celery.result import AsyncResult

command, url = sys.argv[1:]
app = celery.Celery("interop", broker="memory://", backend=url)
app.conf.update(
    task_always_eager=True,
    task_store_eager_result=True,
    result_extended=True,
    result_serializer="json",
)


class OwnError(Exception):
    pass


@app.task(name="interop.value")
def value(kind, note=None):
    return {
        "number": 42,
        "text": "žluťoučký kůň 🐎",
        "nothing": None,
        "nested": {"a": [1, 2.5, None, True], "b": {"c": "d"}},
        "big": 2**70,
        "negative": -(2**63),
        "infinity": float("inf"),
        "datetime": datetime.datetime(2026, 11, 26, 12, 0, 0, 5, tzinfo=datetime.timezone.utc),
        "naive": datetime.datetime(2026, 11, 26, 12, 0),
        "decimal": decimal.Decimal("3.140"),
        "uuid": uuid.UUID(int=7),
        "large": "x" * 100_000,
    }[kind]


@app.task(name="interop.fails")
def fails(message):
    raise KeyError(message, 2)


@app.task(name="interop.fails_itself")
def fails_itself():
    raise OwnError("mine")


def write():
    ids = {}
    kinds = ["number", "text", "nothing", "nested", "big", "negative", "infinity", "datetime", "naive", "decimal", "uuid", "large"]
    for kind in kinds:
        ids[kind] = value.apply_async((kind,), {"note": "ž"}).id
    ids["failure"] = fails.apply_async(("bad",)).id
    ids["own_failure"] = fails_itself.apply_async().id
    for name, state, meta in [("progress", "PROGRESS", {"done": 1}), ("started", states.STARTED, {"pid": 1})]:
        ids[name] = str(uuid.uuid4())
        app.backend.store_result(ids[name], meta, state)
    print(json.dumps(ids))


def read():
    told = {}
    for name, task_id in json.load(sys.stdin).items():
        result = AsyncResult(task_id, app=app)
        value = result.result
        told[name] = {
            "state": result.state,
            "type": type(value).__name__,
            "value": repr(value),
            "traceback": result.traceback,
            "children": [child.id for child in result.children or []],
            "done": result.date_done is not None,
            "name": result.name,
            "args": result.args,
            "kwargs": result.kwargs,
            "worker": result.worker,
            "retries": result.retries,
            "queue": result.queue,
        }
    print(json.dumps(told))


{"write": write, "read": read}[command]()
