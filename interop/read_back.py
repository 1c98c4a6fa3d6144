"""Gives what Celeriac wrote to the real Celery and says what Celery made of it.

    cargo test -p celeriac-protocol --test read_by_celery        runs it

Reads one JSON object from standard input: lists of `messages`, `results`, `signatures`, `events` and `control`. Writes one to
standard output, with the same lists: for each case its name and what Celery understood, printed by Python. Whether that is
right the test says, which knows what it wrote.
"""

import base64
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

from celery import Signature
from celery.events.state import State
from celery.result import AsyncResult
from celery.worker.request import Request
from kombu.message import Message
from kombu.pidbox import Mailbox

sys.path.insert(0, str(Path(__file__).parent))
from celery_goldens.app import make  # noqa: E402
from celery_goldens.tap import TAP, message as published_message  # noqa: E402

app = make()
ran = []


@app.task(shared=False, name="proj.note", bind=True)
def note(self, *args, **kwargs):
    ran.append((args, kwargs, self.request))
    return args[0] if args else None


def envelope(case):
    properties = json.loads(case["properties"])
    return Message(
        base64.b64decode(case["body"]),
        content_type=properties.pop("content_type"),
        content_encoding=properties.pop("content_encoding"),
        delivery_info={"exchange": "", "routing_key": "celery", "priority": properties.get("priority")},
        properties=properties,
        headers=json.loads(case["headers"]),
        accept=["application/json", "application/x-msgpack", "application/x-yaml"],
        channel=MagicMock(),
    )


def read_message(case):
    TAP.clear()
    ran.clear()
    # The strategy is what a worker calls for each message; it makes the request.
    consumer = MagicMock(hostname="w1@vm", connection_errors=(), task_buckets={"proj.note": None})
    consumer.controller.state.revoked = set()
    consumer.event_dispatcher.enabled = False
    strategy = app.tasks["proj.note"].start_strategy(app, consumer)
    strategy(envelope(case), None, lambda *_: None, lambda *_: None, [])
    request: Request = next(
        argument
        for call in consumer.mock_calls
        for argument in call.args
        for argument in (argument if isinstance(argument, tuple) else (argument,))
        if isinstance(argument, Request)
    )
    made = {
        "id": request.id,
        "task": request.name,
        "shown": f"{request.argsrepr} {request.kwargsrepr}",
        "eta": request.eta and request.eta.isoformat(),
        "expires": request.expires and request.expires.isoformat(),
        "timelimit": repr(request.time_limits),
        "ids": repr((request.root_id, request.parent_id, request.group, request.group_index)),
        "correlation_id": request.correlation_id,
    }
    request.execute()
    [(args, kwargs, seen)] = ran
    made["args"], made["kwargs"] = repr(args), repr(kwargs)
    made["request"] = repr((seen.retries, seen.ignore_result, seen.headers, seen.stamps, seen.origin, seen.lang))
    followers = [json.loads(envelope)["headers"]["task"] for _, _, envelope in TAP.published]
    made["then"] = repr((followers, [published_message("", each)["body"] for each in TAP.published]))
    return made


def read_result(case):
    app.backend.set(app.backend.get_key_for_task(case["id"]), case["document"])
    result = AsyncResult(case["id"], app=app)
    return {
        "state": result.state,
        "result": repr(result.result),
        "traceback": result.traceback,
        "date_done": result.date_done and result.date_done.isoformat(),
        "children": repr(result.children and [child.id for child in result.children]),
        "extended": repr((result.name, result.args, result.kwargs, result.worker, result.retries, result.queue)),
    }


def read_signature(case):
    signature = Signature.from_dict(json.loads(case["signature"]), app=app)
    TAP.clear()
    signature.apply_async()
    return {
        "type": type(signature).__name__,
        "repr": repr(signature),
        "sent": [json.loads(published_message("", each)["body"])[0] for each in TAP.published],
    }


def read_events(case):
    state = State()
    for event in json.loads(case["events"]):
        # As a receiver does on arrival.
        state.event({**event, "local_received": event["timestamp"]})
    tasks = sorted((task.uuid, task.name, task.state, task.result) for task in state.tasks.values())
    workers = sorted((worker.hostname, worker.alive, worker.active) for worker in state.workers.values())
    return {"tasks": repr(tasks), "workers": repr(workers)}


def read_control(case):
    sent, asked = [], []
    node = Mailbox("celery", type="fanout").Node("w1@vm", state=SimpleNamespace(), channel=MagicMock())
    node.handlers["ping"] = lambda state, **arguments: asked.append(arguments) or {"ok": "pong"}
    node.reply = lambda *answer, **how: sent.append((answer, how))
    message = envelope(case)
    node.handle_message(message.decode(), message)
    return {"asked": repr(asked), "sent": repr(sent), "clock": message.headers["clock"]}


def main():
    cases = json.load(sys.stdin)
    readers = {
        "messages": read_message,
        "results": read_result,
        "signatures": read_signature,
        "events": read_events,
        "control": read_control,
    }
    made = {kind: [{"case": case["name"], **readers[kind](case)} for case in cases[kind]] for kind in readers}
    json.dump(made, sys.stdout)


main()
