"""Makes a first corpus for each fuzz target of the goldens, in fuzz/corpus."""

import base64
import json
from pathlib import Path

HERE = Path(__file__).parent
GOLDENS = HERE / "../../../interop/goldens"
PARTS = {
    "headers": ["headers"],
    "properties": ["properties"],
    "signature": ["signature"],
    "task_meta": ["document"],
    "body": ["body"],
    "json": ["body", "document"],
    "content": ["body"],
    "repr": ["body"],
    "event": ["body"],
    "control": ["headers", "body"],
    "protocol1": ["headers", "body"],
    "compression": ["body_base64"],
}


def parts(case):
    for name, value in case.items():
        if name == "body_base64":
            raw = base64.b64decode(value)
            yield name, raw
            yield "body", raw
        else:
            yield name, (value if isinstance(value, str) else json.dumps(value)).encode()


for target, wanted in PARTS.items():
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(GOLDENS.glob("*/*.json")):
        for number, case in enumerate(json.loads(file.read_text())["cases"]):
            found = dict(parts(case))
            if all(name in found for name in wanted):
                (folder / f"{file.stem}-{number}").write_bytes(b"\0".join(found[name] for name in wanted))
