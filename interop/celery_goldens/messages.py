"""Task messages: every option, serializer and compression, and both protocols."""

import datetime
import uuid
from decimal import Decimal

from .app import make
from .tap import TAP, message

TYPED = [
    datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
    datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
    datetime.date(2020, 1, 2),
    datetime.time(1, 2, 3),
    datetime.time(1, 2, 3, 4),
    uuid.UUID(int=5),
    Decimal("1.50"),
    Decimal("NaN"),
    b"abc",
    b"\xff\xfe",
    {"inside": {"deep": [Decimal("-0")]}},
]
AWARE = datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.timezone(datetime.timedelta(hours=-3)))
NAIVE = datetime.datetime(2031, 2, 3, 4, 5, 6, 7)

#: Name, positional arguments, options.
CASES = [
    ("no arguments", (), {}),
    ("positional and keyword arguments", (1, "two"), {"kwargs": {"y": [3.5, None, True, False]}}),
    ("text beyond ASCII", ("Grüße \U0001f98a \u2028 \x7f \x01 \"quoted\" back\\slash / it's",), {}),
    ("numbers beyond JSON", (float("nan"), float("inf"), float("-inf"), 10**200, -(2**63), 2**63, 2**64), {}),
    ("floats", (1.0, 1e16, 1e22, 1.5e300, 5e-324, 0.1, 100000.0, 123456789012345.6, 1e-7, -0.0), {}),
    ("typed values", tuple(TYPED), {}),
    ("tuples, and keys that are no strings", ((1, (2,)), {1: "a", None: "b", True: "c", 2.5: "d"}), {}),
    ("long arguments are cut for people", ("x" * 3000, list(range(500))), {}),
    ("deep arguments are cut for people", ([[[[[1]]]]], {"a": {"b": {"c": {"d": 1}}}}), {}),
    ("countdown", (1,), {"countdown": 60}),
    ("countdown in fractions", (1,), {"countdown": 1.5}),
    ("eta with an offset", (1,), {"eta": AWARE}),
    ("eta without an offset", (1,), {"eta": NAIVE}),
    ("expires in seconds", (1,), {"expires": 120}),
    ("expires at a time", (1,), {"expires": AWARE}),
    ("expires before it is sent", (1,), {"expires": -1}),
    ("priority", (1,), {"priority": 5}),
    ("time limits", (1,), {"time_limit": 10, "soft_time_limit": 5}),
    ("time limits in fractions", (1,), {"time_limit": 10.25, "soft_time_limit": 2.0}),
    ("only a soft time limit", (1,), {"soft_time_limit": 5}),
    ("shadow", (1,), {"shadow": "shad"}),
    ("one custom header", (1,), {"headers": {"custom": {"nested": [1, 10**30, "ü"]}}}),
    ("several custom headers", (1,), {"headers": {"zebra": 1, "ant": None, "celery_beat_task": True}}),
    ("stamps", (1,), {"stamped_headers": ["tenant", "trace"], "tenant": "acme", "trace": ["a", "b"]}),
    ("ignore_result", (1,), {"ignore_result": True}),
    ("ignore_result off", (1,), {"ignore_result": False}),
    ("retries", (1,), {"retries": 3}),
    ("a group's member", (1,), {"group_id": "<g>", "group_index": 2, "root_id": "<r>", "parent_id": "<p>"}),
    ("reply_to", (1,), {"reply_to": "somewhere"}),
    ("queue", (1,), {"queue": "mail"}),
    ("everything", (3,), {
        "kwargs": {"y": 4}, "countdown": 60, "expires": 120, "priority": 5, "soft_time_limit": 5, "time_limit": 10,
        "ignore_result": True, "shadow": "shad", "headers": {"custom": "h"}, "compression": "gzip",
    }),
]
#: Those that are sent in protocol 1 too.
OLD = {
    "no arguments", "positional and keyword arguments", "numbers beyond JSON", "countdown", "eta without an offset",
    "expires in seconds", "time limits", "one custom header", "a group's member", "callbacks and errbacks",
}
SERIALIZERS = ["json", "msgpack", "yaml", "pickle"]
#: YAML has had several minds about which of these are texts.
LOOKALIKES = (
    "1e3", "0o17", "1_000", "12:30", "12:30:45.5", "2020-01-02", "yes", "y", "on", "~", "null", "=", "<<", "0x1F", "017", "09",
    ".nan", "nan", "1.", "+1", "-.inf", "0b11", "1.5e3", "", " ", "- a", "#", "a: b", "a\nb", "\x7f\x85\u2028", "\U0001f98a",
)
SHARED = [1, {"two": 2.5e20}]
COMPRESSIONS = ["gzip", "zlib", "bzip2", "lzma", "brotli", "zstd"]
PLAIN = ("Grüße", 5, -7, 1.5, None, True, {"k": {"a": [1, [], {}]}}, "", 2**53 + 1)


def capture():
    v2, v1 = make(), make(task_protocol=1)
    cases = [_send(v2, name, args, options) for name, args, options in CASES]
    cases += [_send(v2, f"serializer {name}", PLAIN, {"serializer": name}) for name in SERIALIZERS]
    cases.append(_send(v2, "serializer msgpack with bytes", (b"\xff\xfe", b"abc", 2**63), {"serializer": "msgpack"}))
    cases.append(_send(v2, "serializer yaml with dates", (TYPED[0], TYPED[2], "2020-01-02", "yes", "1"), {"serializer": "yaml"}))
    cases.append(_send(v2, "serializer yaml with texts that look like something else", LOOKALIKES, {"serializer": "yaml"}))
    cases.append(_send(v2, "serializer yaml with one list twice", (SHARED, {"again": SHARED}), {"serializer": "yaml"}))
    cases += [_send(v2, f"compression {name}", (["x" * 40] * 3,), {"compression": name}) for name in COMPRESSIONS]
    cases.append(_send(v2, "msgpack compressed with zstd", (1, "x"), {"serializer": "msgpack", "compression": "zstd"}))
    cases.append(_send(v2, *_linked(v2)))
    for name, args, options in [*CASES, _linked(v1)]:
        if name in OLD:
            cases.append(_send(v1, f"protocol 1: {name}", args, options))
    for serializer in SERIALIZERS:
        cases.append(_send(v1, f"protocol 1: serializer {serializer}", (1, "x"), {"serializer": serializer}))
    cases.append(_send(v1, "protocol 1: compression zlib", (1, "x"), {"compression": "zlib"}))
    local = make(task_protocol=1, enable_utc=False, timezone="Europe/Berlin")
    cases.append(_send(local, "protocol 1: local time", (1,), {"eta": NAIVE}))
    hybrid = make(task_protocol=1)
    cases.append(_send(hybrid, "hybrid", (1, 2), {"headers": {"task": "proj.add", "id": "<a>", "retries": 2, "lang": "py"}}))
    return cases


def _linked(app):
    add = app.signature
    return (
        "callbacks and errbacks",
        (1,),
        {"link": [add("proj.add", (2,)), add("proj.echo", immutable=True)], "link_error": add("proj.fails", queue="sad")},
    )


def _send(app, name, args, options):
    TAP.clear()
    options = dict(options)
    app.send_task("proj.add", args, task_id="<a>", reply_to=options.pop("reply_to", "oid"), **options)
    [published] = TAP.published
    return message(name, published)
