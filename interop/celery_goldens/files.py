"""The golden files: a case has a line for each of its parts, exactly as it was on the wire."""

import base64
import json
import platform

import celery
import kombu
from kombu.compression import decompress

VERSIONS = {
    "celery": celery.__version__,
    "kombu": kombu.__version__,
    "python": ".".join(platform.python_version_tuple()[:2]),
}


def text(cases):
    head = "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in VERSIONS.items())
    return "{\n" + head + ' "cases": [\n' + ",\n".join(map(_case, cases)) + "\n ]\n}\n"


def _case(case):
    # What was captured as text stands in the file as that very text, so that it can be compared byte for byte.
    parts = [f"   {json.dumps(name)}: {part if isinstance(part, Raw) else json.dumps(part)}" for name, part in case.items()]
    return "  {\n" + ",\n".join(parts) + "\n  }"


class Raw(str):
    """JSON as it was written by Celery."""


def write(path, cases):
    path.write_text(text(cases))


def differences(path, cases):
    """What differs between a file and cases captured now, in words."""
    if not path.exists():
        return [f"{path} is missing"]
    # The Python that made the file may have been another one; nothing captured depends on it.
    there = {case["name"]: case for case in json.loads(path.read_text())["cases"]}
    now = {case["name"]: case for case in json.loads(text(cases))["cases"]}
    lines = [f"{path.name}: {name}: is no longer captured" for name in there.keys() - now.keys()]
    for name, case in now.items():
        if name not in there:
            lines.append(f"{path.name}: {name}: is new")
            continue
        old, new = _comparable(there[name]), _comparable(case)
        for part in old.keys() | new.keys():
            if json.dumps(old.get(part)) != json.dumps(new.get(part)):
                lines.append(f"{path.name}: {name}: {part}\n  was {old.get(part)!r}\n  is  {new.get(part)!r}")
    return sorted(lines)


def _comparable(case):
    """Other versions of zlib and the like compress otherwise: only what comes out again counts."""
    compression = (case.get("headers") or {}).get("compression")
    if not compression:
        return case
    return {**case, "body_base64": repr(decompress(base64.b64decode(case["body_base64"]), compression))}
