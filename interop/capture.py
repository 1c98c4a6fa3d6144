"""Captures what the real Celery writes, as the goldens that Celeriac's tests read.

    PYTHON=$(interop/venv celery)
    $PYTHON interop/capture.py            writes interop/goldens/celery-<version>/*.json anew
    $PYTHON interop/capture.py --check    captures again and says what differs from the files; 1 when something does

No broker is needed: clients and a worker run in this process over kombu's memory transport, and everything that they
publish or store is noted on its way. What differs from run to run (ids, times, process ids, names of hosts) is replaced
by fixed values of the same form, so that a second capture gives the same files. The goldens are never edited by hand.
"""

import os
import sys
from pathlib import Path

# Celery writes some sets as lists: their order must not depend on the run.
if os.environ.get("PYTHONHASHSEED") != "0":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0", "TZ": "UTC"})

import celery  # noqa: E402

from celery_goldens import canvas, files, messages, worker  # noqa: E402

FOLDER = Path(__file__).parent / "goldens" / f"celery-{celery.__version__}"


def main(options):
    if options not in ([], ["--check"]):
        sys.exit(__doc__)
    captured = {
        "messages": messages.capture(),
        "signatures": canvas.capture_signatures(),
        "canvas": canvas.capture_messages(),
        **worker.capture(),
    }
    if options:
        wrong = [line for name, cases in captured.items() for line in files.differences(FOLDER / f"{name}.json", cases)]
        print("\n".join(wrong) or f"{sum(map(len, captured.values()))} cases are as {FOLDER.name} has them")
        sys.exit(bool(wrong))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, cases in captured.items():
        files.write(FOLDER / f"{name}.json", cases)
        print(f"{name}: {len(cases)} cases")


if __name__ == "__main__":
    main(sys.argv[1:])
