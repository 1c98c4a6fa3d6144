"""Makes what differs from run to run the same, by values of the same form."""

import json
import re

from kombu.utils.json import dumps, loads

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SENDER = re.compile(r"gen\d+@[\w.-]+")
NOW = "2026-11-23T13:03:36.675888+00:00"
#: By the names of the members, wherever they are.
FIXED = {
    "date_done": NOW,
    "timestamp": 1795439016.89,
    "local_received": 1795439016.89,
    "runtime": 0.25,
    "pid": 12838,
    "loadavg": [0.33, 0.6, 0.3],
    "clock": 8,
    "time_start": 1795439016.89,
    "uptime": 3,
    "sw_sys": "Linux",
    "hostname": "w1@vm",
    "worker": "w1@vm",
}


class Stable:
    """Replaces values; the same one by the same one within a case."""

    def __init__(self):
        self.ids = {}

    def text(self, text):
        """Ids and senders in any text, in the order in which they are met."""

        def fixed(match):
            number = self.ids.setdefault(match.group(), len(self.ids) + 1)
            return f"00000000-0000-4000-8000-{number:012x}"

        return SENDER.sub("gen12671@vm", UUID.sub(fixed, text))

    def json(self, text, **fixed):
        """The same for a JSON text, and the members that FIXED names, without touching anything else of it."""
        plain = json.loads(text)
        # Were this not so, what we write would not be what Celery wrote.
        assert json.dumps(plain) == text, text
        return self.text(json.dumps(_fix(plain, {**FIXED, **fixed})))

    def value(self, value, **fixed):
        return loads(self.json(dumps(value), **fixed))


def _fix(value, fixed):
    if isinstance(value, list):
        return [_fix(element, fixed) for element in value]
    if not isinstance(value, dict):
        return value
    return {name: _member(name, member, fixed) for name, member in value.items()}


def _member(name, member, fixed):
    if name == "traceback" and isinstance(member, str):
        return _traceback(member)
    # What is null stays null: that is part of the form. What is no plain value is something else of that name.
    if name in fixed and isinstance(member, (str, int, float, list)) and not isinstance(member, bool):
        return fixed[name]
    return _fix(member, fixed)


def _traceback(text):
    """Its first and last lines and ours between: frames of Celery and marks under the code differ by version."""
    lines = text.split("\n")
    ours = [
        line
        for at, line in enumerate(lines)
        for near in [line if line.startswith("  File") else lines[at - 1]]
        if "celery_goldens" in near and not set(line) <= set(" ^~")
    ]
    ours = [re.sub(r'File ".*celery_goldens', 'File "/proj', line) for line in ours]
    ours = [re.sub(r", line \d+,", ", line 7,", line) for line in ours]
    return "\n".join([lines[0], *ours, *lines[-2:]])
