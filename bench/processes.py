"""The QStash server and its destination as processes of their own, and what /proc says of them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SINK = Path(__file__).with_name("sink.py")


@dataclass(frozen=True, kw_only=True)
class QStashProcess:
    """A server that answers. start_s: how long it took until then."""

    pid: int
    port: int
    token: str
    start_s: float

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def cpu_s(self) -> float:
        """Seconds of a processor that it has used."""
        # The second field, the name in brackets, may hold blanks.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def qstash(state: Path) -> Iterator[QStashProcess]:
    """Run a server of this repository, as a person would start it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "qstash_server", "--port", "0", "--state", str(state)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            said = dict(line.strip().split("=", 1) for line in _lines(process, 4))
            yield QStashProcess(
                pid=process.pid,
                port=int(said["QSTASH_URL"].rpartition(":")[2]),
                token=said["QSTASH_TOKEN"],
                start_s=time.perf_counter() - started,
            )
        finally:
            process.terminate()


@contextmanager
def sink() -> Iterator[int]:
    """Run a destination that notes what arrives; yields its port."""
    process = subprocess.Popen(
        [sys.executable, str(SINK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        [line] = _lines(process, 1)
        yield int(line)
        # Leaving closes its input, which ends it.


def _lines(process: "subprocess.Popen[str]", count: int) -> list[str]:
    if process.stdout is None:
        raise RuntimeError("The process has no output to read.")
    lines = [process.stdout.readline() for _ in range(count)]
    if not lines[-1]:
        raise RuntimeError("The process ended before it listened.")
    return lines
