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
def state(tmp_path: Path) -> State:
    """An empty var/. As root, its parents let other accounts pass, as those of a project do."""
    open_parents(tmp_path)
    state = State(tmp_path / "var")
    state.create()
    return state


@pytest.fixture
def short_temp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temp directory of the test, on a path short enough for sockets."""
    with TemporaryDirectory() as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)


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


def open_parents(directory: Path) -> None:
    """Let every account pass through the private directories that pytest made for root."""
    if os.geteuid() == 0:
        for parent in (directory, *directory.parents):
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
