import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qstash_server.clock import ManualClock
from tests.qstash_server.running import LoopThread, Running, Sink, settings

MINUTE_MS = 60_000


@pytest.fixture(scope="session")
def loop() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


@pytest.fixture
def sink(loop: LoopThread) -> Iterator[Sink]:
    with Sink(loop) as sink:
        yield sink


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at the last full minute: close enough to now for signatures to hold."""
    now_ms = time.time_ns() // 1_000_000
    return ManualClock(now_ms - now_ms % MINUTE_MS)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


@pytest.fixture
def server(loop: LoopThread, state: Path, clock: ManualClock, sink: Sink) -> Iterator[Running]:
    """A running server. It stops before the sink does, which could not close connections that a
    delivery opens while it stops."""
    with Running(loop, settings(state), clock) as running:
        yield running
