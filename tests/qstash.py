"""The QStash server of this repository as a process of its own, for tests that talk to it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


@contextmanager
def running_qstash(state: Path, **environment: str) -> Iterator[dict[str, str]]:
    """Run the server on a free port; yield what it prints about itself: QSTASH_URL, QSTASH_TOKEN and the keys."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qstash_server", "--port", "0", "--state", str(state)],
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield dict(_read_variables(process))
    finally:
        process.terminate()
        process.wait(timeout=20)
        if process.stdout:
            process.stdout.close()


def _read_variables(process: "subprocess.Popen[str]") -> Iterator[tuple[str, str]]:
    for line in process.stdout or ():
        name, equals, value = line.strip().partition("=")
        if equals and name.startswith("QSTASH_"):
            yield name, value
        if name == "QSTASH_NEXT_SIGNING_KEY":
            return
    raise RuntimeError("The QStash server ended before it listened.")
