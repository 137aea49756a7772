"""A state directory, and processes that do not outlive their test."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pytest

from soloboard.local.process import Process
from soloboard.local.state import State

REPOSITORY = Path(__file__).resolve().parents[3]


class Service(Protocol):
    """What Postgres and Valkey have in common."""

    def start(self) -> Process: ...
    def is_ready(self) -> bool: ...


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that other accounts may pass through, and the temp directory of its test.

    Unlike tmp_path: pytest keeps that closed, and deep, too deep for sockets.
    """
    with TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o711)
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield place


@pytest.fixture
def state(place: Path) -> State:
    """An empty var/."""
    state = State(place / "var")
    state.create()
    return state


@pytest.fixture
def serve() -> Iterator[Callable[[Service], Process]]:
    """Start a service, wait until it serves, and stop it after the test."""
    with ExitStack() as stack:

        def start(service: Service) -> Process:
            process = service.start()
            stack.callback(process.stop)
            process.wait_until(service.is_ready)
            return process

        yield start


@pytest.fixture
def run_python(state: State) -> Iterator[Callable[..., Process]]:
    """Start a few lines of Python as a child of this process."""
    with ExitStack() as stack:

        def start(code: str, name: str = "child") -> Process:
            command = [sys.executable, "-u", "-c", code]
            process = Process.start(name, command, state, env=os.environ, cwd=state.root)
            stack.callback(process.stop)
            return process

        yield start
