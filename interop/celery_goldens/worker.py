"""What a real worker writes: result documents, events, and the answers of remote control."""

import json
from datetime import datetime, timezone

from celery.contrib.testing.worker import start_worker
from celery.worker import state
from kombu.utils.json import dumps

from . import control
from .app import make
from .files import Raw
from .stable import Stable
from .tap import TAP, message

HOSTNAME = "w1@vm"
TYPED = {"bytes": b"\xff", "nan": float("nan"), "big": 10**40}

#: Name, task, arguments, options, the event that is the last.
TASKS = [
    ("success", "proj.add", (1, 2), {}, "task-succeeded"),
    ("success with typed values", "proj.echo", (TYPED,), {}, "task-succeeded"),
    ("success with a long result", "proj.echo", ("x" * 3000,), {}, "task-succeeded"),
    ("success of a group's member", "proj.add", (1, 2), {"group_id": "<g>", "parent_id": "<p>"}, "task-succeeded"),
    ("success of one that sends another", "proj.sends", (), {}, "task-succeeded"),
    ("success with a stamp", "proj.add", (1, 2), {"stamped_headers": ["tenant"], "tenant": "acme"}, "task-succeeded"),
    ("failure", "proj.fails", (), {}, "task-failed"),
    ("failure of an unknown task", "proj.nobody", (), {}, "task-failed"),
    ("failure by wrong arguments", "proj.add", (1, 2, 3), {}, "task-failed"),
    ("retry", "proj.again", (), {}, "task-succeeded"),
    ("a state of its own", "proj.progress", (), {}, "task-succeeded"),
    ("started", "proj.started", (), {}, "task-succeeded"),
    ("expired", "proj.add", (1, 2), {"expires": datetime(2021, 2, 3, tzinfo=timezone.utc)}, "task-revoked"),
    ("revoked", "proj.add", (1, 2), {}, "task-revoked"),
    ("rejected", "proj.rejects", (), {}, "task-rejected"),
    ("ignored", "proj.ignores", (), {}, "task-started"),
]


def capture():
    results, events = [], []
    for extended in [False, True]:
        # A broker in memory keeps what nobody took: each worker has a queue of its own.
        app = make(result_extended=extended, task_send_sent_event=True, task_default_queue="extended" if extended else "plain")
        with start_worker(app, hostname=HOSTNAME, perform_ping_check=False, task_events=True, loglevel="CRITICAL"):
            for case in TASKS:
                stored, seen = _run(app, *case)
                results += _documents(case[0] + (", extended" if extended else ""), stored)
                if not extended:
                    events += [message(f"{case[0]}: {_types(event)[0]}", event) for event in seen]
    results.append(_group(app))
    lifecycle, requests, replies = _live()
    events += lifecycle
    events.append(_buffered(app))
    return {"results": results, "events": events, "control-requests": requests, "control-replies": replies}


def _run(app, name, task, args, options, last):
    state.revoked.clear()
    if name == "revoked":
        app.control.revoke("<a>", reply=True, timeout=0.1)
    TAP.clear()
    app.send_task(task, args, task_id="<a>", **options)

    def done():
        """the last event of the task"""
        return [event for event in TAP.to("celeryev") if last in _types(event) and '"uuid": "<a>"' in _body(event)]

    TAP.wait(done)
    app.backend.delete(app.backend.get_key_for_task("<a>"))
    seen = [event for event in TAP.to("celeryev") if '"uuid": "<a>"' in _body(event)]
    # The client and the worker are two threads: which comes first is chance.
    seen.sort(key=lambda event: _types(event) != ["task-sent"])
    return list(TAP.stored), seen


def _body(published):
    return message("", published)["body"]


def _types(published):
    body = json.loads(_body(published))
    return [event["type"] for event in (body if isinstance(body, list) else [body])]


def _documents(name, stored):
    cases = []
    for status, document in stored:
        if '"task_id": "child"' not in document:
            cases.append({"name": f"{name}: {status}", "document": Raw(Stable().json(document))})
    return cases


def _group(app):
    from celery.result import AsyncResult, GroupResult

    TAP.clear()
    GroupResult("<g>", [AsyncResult("<b>"), AsyncResult("<c>")], app=app).save()
    [(_, document)] = TAP.stored
    return {"name": "a saved group", "document": Raw(document)}


def _live():
    """A worker that comes, beats, is asked, and goes."""
    app = make(task_default_queue="live")
    TAP.clear()

    def beat():
        """a heartbeat"""
        return [event for event in TAP.to("celeryev") if "worker-heartbeat" in _types(event)]

    with start_worker(app, hostname=HOSTNAME, perform_ping_check=False, without_heartbeat=False, loglevel="CRITICAL"):
        TAP.wait(beat)
        requests, replies = control.capture(app, HOSTNAME)

    def gone():
        """the worker's farewell"""
        return [event for event in TAP.to("celeryev") if "worker-offline" in _types(event)]

    TAP.wait(gone)
    # Of the many beats the first one, which the timer sends.
    events = {_types(event)[0]: event for event in reversed(TAP.to("celeryev")) if _types(event)[0].startswith("worker-")}
    names = ["worker-online", "worker-heartbeat", "worker-offline"]
    return [message(name, events[name], active=0, processed=3) for name in names], requests, replies


def _buffered(app):
    """Task events travel in arrays where the worker has an event loop."""
    TAP.clear()
    with app.connection_for_write() as connection:
        dispatcher = app.events.Dispatcher(connection, hostname=HOSTNAME, buffer_group={"task"})
        dispatcher.send("task-started", uuid="<a>")
        dispatcher.send("task-revoked", uuid="<b>", terminated=True, signum=15, expired=False)
        dispatcher.send("task-rejected", uuid="<c>", requeue=True)
        dispatcher.send("task-cancelled", uuid="<d>")
        dispatcher.flush()
    [published] = TAP.to("celeryev")
    return message("task.multi", published)
