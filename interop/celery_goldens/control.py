"""Remote control: what a client broadcasts and what a worker answers."""

import json

from kombu.pidbox import Mailbox

from .tap import TAP, message

#: Replies that tell about the machine: their members count, not their values.
TELLING = {"stats", "conf", "report", "memsample"}

#: Method, arguments.
ASKED = [
    ("ping", {}),
    ("clock", {}),
    ("hello", {"from_node": "w2@vm", "revoked": {}}),
    ("registered", {"taskinfoitems": ["rate_limit"]}),
    ("active", {}),
    ("reserved", {}),
    ("scheduled", {}),
    ("revoked", {}),
    ("active_queues", {}),
    ("query_task", {"ids": ["<a>"]}),
    ("stats", {}),
    ("conf", {"with_defaults": False}),
    ("report", {}),
    ("revoke", {"task_id": ["<a>", "<b>"], "terminate": False, "signal": "SIGTERM"}),
    ("revoke_by_stamped_headers", {"headers": {"tenant": ["acme"]}}),
    ("terminate", {"task_id": "<a>", "signal": "SIGKILL"}),
    ("rate_limit", {"task_name": "proj.add", "rate_limit": "10/m"}),
    ("time_limit", {"task_name": "proj.add", "hard": 10, "soft": 5.5}),
    ("add_consumer", {"queue": "mail"}),
    ("cancel_consumer", {"queue": "mail"}),
    ("enable_events", {}),
    ("disable_events", {}),
    ("heartbeat", {}),
    ("pool_grow", {"n": 1}),
    ("pool_shrink", {"n": 1}),
    ("autoscale", {"max": 3, "min": 1}),
    ("nosuch", {}),
    ("rate_limit", {}),
]


def capture(app, hostname):
    requests, replies = [], []
    for number, (method, arguments) in enumerate(ASKED):
        TAP.clear_of("reply.celery.pidbox", "celery.pidbox")
        app.control.broadcast(method, arguments, reply=True, timeout=0.01, destination=[hostname])

        def answered():
            """the worker's reply"""
            return TAP.to("reply.celery.pidbox")

        [reply] = TAP.wait(answered)
        [request] = TAP.to("celery.pidbox")
        name = f"{number + 1} {method}"
        requests.append(message(name, request, expires=1795439009.88, clock=1))
        replies.append(_reply(name, reply, method))
    requests += _others(app)
    return requests, replies


def _reply(name, reply, method):
    case = message(name, reply, clock=3)
    if method not in TELLING:
        return case
    [(node, value)] = json.loads(case["body"]).items()
    return {**case, "body": json.dumps({node: _form(value)})}


def _form(value):
    """The same members with values of their kind."""
    if isinstance(value, dict):
        return {name: _form(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_form(element) for element in value[:1]]
    if isinstance(value, bool) or value is None:
        return value
    return {int: 1, float: 0.5, str: "text"}[type(value)]


def _others(app):
    """Requests without an answer: to everybody, by a pattern, without arguments, the ones that end a worker."""
    cases = []
    mailbox: Mailbox = app.control.mailbox
    with app.connection_for_write() as connection:
        for name, method, options in [
            ("to everybody, no reply", "enable_events", {}),
            ("by a glob", "ping", {"pattern": "w9*", "matcher": "glob"}),
            ("by a regular expression", "ping", {"pattern": "w[9]@.*", "matcher": "pcre"}),
            ("to one that is not there", "shutdown", {"destination": ["w9@vm"]}),
        ]:
            TAP.clear_of("celery.pidbox")
            mailbox(connection)._broadcast(method, **options)
            [request] = TAP.to("celery.pidbox")
            cases.append(message(name, request, expires=1795439009.88, clock=1))
    return cases
