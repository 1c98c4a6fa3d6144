"""Signatures as they travel, and the messages that sending them makes."""

from celery import chain, chord, group
from kombu.utils.json import dumps

from .app import make
from .files import Raw
from .stable import Stable
from .tap import TAP, message


def workflows(app):
    def add(*args, **options):
        return app.signature("proj.add", args, **options)

    def total():
        return app.signature("proj.echo")

    stamped = add(1, 2)
    stamped.stamp(tenant="acme")
    return {
        "a task": add(1, 2),
        "keywords": app.signature("proj.add", (1,), {"y": 2}),
        "immutable": add(1, 2, immutable=True),
        "options": add(1, queue="mail", priority=3, countdown=5, expires=60, time_limit=10, headers={"custom": "h"}),
        "numbers beyond JSON": add(float("nan"), float("-inf"), 10**60),
        "a callback and an errback": add(1).on_error(app.signature("proj.fails")) | add(2),
        "links": _linked(add(1), add(2), app.signature("proj.fails", queue="sad")),
        "stamped": stamped,
        "a chain": chain(add(1, 2), add(3), add(4)),
        "a group": group(add(1, 1), add(2, 2)),
        "an empty group": group([]),
        "a chord": chord([add(1, 1), add(2, 2)], total()),
        "a chord that says what follows a failure": chord([add(1, 1)], total().on_error(app.signature("proj.fails"))),
        "a chain that ends in a group": chain(add(1, 2), group(add(3), add(4))),
        "a chain through a group": chain(add(1, 2), group(add(3), add(4)), total()),
        "a group of chains": group(chain(add(1, 1), add(2)), chain(add(3, 3), add(4))),
        "a group of groups": group(group(add(1, 1), add(2, 2)), add(3, 3)),
        "a chord of chains": chord([chain(add(1, 1), add(2)), add(3, 3)], chain(total(), total())),
        "a chord of a chord": chord([chord([add(1, 1), add(2, 2)], total()), add(3, 3)], total()),
        "chunks": app.tasks["proj.add"].chunks([(1, 1), (2, 2), (3, 3)], 2),
        "starmap": app.tasks["proj.add"].starmap([(1, 1), (2, 2)]),
    }


def _linked(task, callback, errback):
    task.link(callback)
    task.link_error(errback)
    return task


def capture_signatures():
    """As JSON: fresh, and once more with the ids that it gets when it is sent."""
    cases = []
    for name, workflow in workflows(make()).items():
        cases.append({"name": name, "signature": Raw(Stable().json(dumps(workflow)))})
        workflow.freeze()
        cases.append({"name": f"{name}, frozen", "signature": Raw(Stable().json(dumps(workflow)))})
    return cases


def capture_messages():
    app = make()
    cases = []
    for name, workflow in workflows(app).items():
        TAP.clear()
        workflow.apply_async()
        # The ids that tie the messages of one workflow together are the same in all of them.
        stable = Stable()
        for index, published in enumerate(TAP.published):
            cases.append(message(f"{name}: message {index + 1} of {len(TAP.published)}", published, stable))
    return cases
