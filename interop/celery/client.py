"""A Celery client whose tasks run in a worker of Celeriac: client.py SCENARIO. Fails when anything is not as Celery has it."""

import datetime
import sys

from celery import chain, chord, group
from celery.exceptions import TaskRevokedError, TimeoutError
from proj import add, app, echo, fail, failed, note, notes, total

SOON = 30


def values():
    assert add.delay(2, 3).get(timeout=SOON) == 5
    assert add.apply_async((2,), {"y": 4}).get(timeout=SOON) == 6
    for text in ["größe", "任务🎉", "", "x" * 1_000_000]:
        assert echo.delay(text).get(timeout=SOON) == text
    results = [add.delay(n, n) for n in range(200)]
    assert [result.get(timeout=SOON) for result in results] == [2 * n for n in range(200)]
    done = add.delay(1, 1)
    done.get(timeout=SOON)
    assert done.state == "SUCCESS" and done.successful() and done.traceback is None
    assert isinstance(done.date_done, datetime.datetime), done.date_done
    assert list(done.children or []) == []
    done.forget()
    assert app.AsyncResult(done.id).state == "PENDING"


def serializers():
    assert add.apply_async((2, 3), serializer="msgpack").get(timeout=SOON) == 5
    assert add.apply_async((2, 3), compression="gzip").get(timeout=SOON) == 5


def options():
    started = datetime.datetime.now(datetime.timezone.utc)
    later = add.apply_async((1, 2), countdown=2)
    at = add.apply_async((1, 3), eta=started + datetime.timedelta(seconds=2))
    assert add.apply_async((1, 4), priority=9).get(timeout=SOON) == 5
    assert add.apply_async((1, 4), expires=60).get(timeout=SOON) == 5
    assert later.get(timeout=SOON) == 3 and at.get(timeout=SOON) == 4
    for result in (later, at):
        assert result.date_done.replace(tzinfo=datetime.timezone.utc) >= started + datetime.timedelta(seconds=2)
    late = add.apply_async((1, 5), countdown=2, expires=1)
    try:
        late.get(timeout=SOON)
        raise AssertionError("it had expired")
    except TaskRevokedError:
        assert late.state == "REVOKED"
    quiet = note.apply_async(("quiet",), ignore_result=True)
    note.delay("loud").get(timeout=SOON)
    assert app.AsyncResult(quiet.id).state == "PENDING"
    try:
        add.apply_async((1, 1), queue="nobody").get(timeout=1)
        raise AssertionError("nobody serves that queue")
    except TimeoutError:
        pass


def errors():
    result = fail.delay("why")
    try:
        result.get(timeout=SOON)
        raise AssertionError("it fails")
    except KeyError as error:
        assert error.args == ("why",), error.args
    assert result.state == "FAILURE" and result.failed()
    assert isinstance(result.result, KeyError)
    unknown = app.send_task("proj.nowhere")
    try:
        unknown.get(timeout=SOON)
        raise AssertionError("nobody knows it")
    except Exception as error:
        assert "proj.nowhere" in str(error), error


def canvas():
    assert chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=SOON) == 10
    assert group(add.s(n, 1) for n in range(20))().get(timeout=SOON) == list(range(1, 21))
    assert chord([add.s(n, n) for n in range(20)], total.s())().get(timeout=SOON) == 380
    linked = add.apply_async((20, 3), link=add.s(100))
    assert linked.get(timeout=SOON) == 23
    (child,) = linked.children
    assert child.get(timeout=SOON) == 123
    broken = fail.apply_async(("why",), link_error=failed.s())
    try:
        broken.get(timeout=SOON)
    except KeyError:
        pass
    # The error callback ran when somebody noted it; `note` behind it in the same queue is done later.
    note.apply_async(("after",), countdown=1).get(timeout=SOON)
    assert notes.hget("notes", f"failed {broken.id}") == b"1", notes.hgetall("notes")
    failing = chord([add.s(1, 1), fail.s("why")], total.s())()
    # Raising, Celery's client raises what the part raised; the body itself has failed with an error of its own.
    error = failing.get(timeout=SOON, propagate=False)
    assert type(error).__name__ == "ChordError" and "raised KeyError" in str(error), repr(error)
    assert failing.state == "FAILURE"


def chords(count=10, size=20):
    """For workers of both kinds on one queue: each chord completes once."""
    chords = [chord([add.s(n, n) for n in range(size)], note.si(f"chord-{c}"))() for c in range(count)]
    for c, result in enumerate(chords):
        assert result.get(timeout=60) == f"chord-{c}"
    counts = {key: int(value) for key, value in notes.hgetall("notes").items() if key.startswith(b"chord-")}
    assert counts == {f"chord-{c}".encode(): 1 for c in range(count)}, counts


def send(count):
    """Sends so many tasks, in one connection."""
    with app.producer_pool.acquire(block=True) as producer:
        for n in range(int(count)):
            note.apply_async((f"celery-{n}",), producer=producer, ignore_result=True)


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    globals()[name](*arguments)
