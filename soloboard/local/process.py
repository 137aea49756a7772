"""A child process that a later owner recognises, and stops, when this owner was killed.

Each child inherits a file of var/run on which a lock (flock) rests for as long as the child, or
any process it started, lives. That says more than a process number with its start time could: it
needs no clock, is not fooled by a number used again or by a zombie, and is free only when the
last descendant is gone.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from soloboard.local import CannotRunError
from soloboard.local.state import State

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 20
KILL_TIMEOUT_S = 10
POLL_S = 0.05
TAIL_LINES = 15


def pause() -> None:
    """Wait a moment between two looks at something."""
    time.sleep(POLL_S)


@dataclass(frozen=True, kw_only=True)
class Record:
    """The file by which a child is known: enough to stop it without having started it."""

    path: Path

    def is_held(self) -> bool:
        """Whether the child, or anything it started, lives."""
        with self.path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def stop(self) -> None:
        """Ask the child to end, end it by force if it does not, and forget it; repeat at will.

        Raises CannotRunError when something of it survives even that.
        """
        if self.path.exists() and self.is_held():
            pid, stop_signal = self._read()
            with suppress(ProcessLookupError):
                os.kill(pid, stop_signal)
            if not self._is_free_within(STOP_TIMEOUT_S):
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                if not self._is_free_within(KILL_TIMEOUT_S):
                    raise self._unstoppable()
        self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[int, int]:
        try:
            pid, stop_signal = self.path.read_text().split()
        except ValueError:
            # The owner was killed in the instant between starting the child and writing it down.
            raise self._unstoppable() from None
        return int(pid), int(stop_signal)

    def _is_free_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.is_held():
            if time.monotonic() > deadline:
                return False
            pause()
        return True

    def _unstoppable(self) -> CannotRunError:
        return CannotRunError(
            f"A process of an earlier run holds {self.path} and cannot be stopped from here: "
            f"end it by hand (`fuser {self.path}` names it), then start again."
        )


@dataclass(frozen=True, kw_only=True)
class Process:
    """A running child in a session of its own, so that Ctrl-C reaches its owner alone."""

    name: str
    record: Record
    log: Path | None
    popen: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        state: State,
        *,
        env: Mapping[str, str],
        cwd: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        output: Path | None = None,
        on_terminal: bool = False,
    ) -> "Process":
        """Start `command`; what it says goes to var/log/NAME.log unless it is on the terminal.

        stop_signal: the one that asks this program for an orderly end.
        output: where its standard output goes instead.
        """
        record = Record(path=state.run / f"{name}.process")
        log = None if on_terminal else state.log / f"{name}.log"
        with ExitStack() as files:
            held = files.enter_context(_create(record.path))
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stderr = files.enter_context(_create(log, keep_last=True)) if log else None
            stdout = files.enter_context(_create(output)) if output else stderr
            popen = subprocess.Popen(  # noqa: S603 - commands of our own, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=env,
                cwd=cwd,
                umask=0o077,
                pass_fds=[held.fileno()],
                start_new_session=True,
            )
            held.write(f"{popen.pid} {stop_signal.value}\n".encode())
        return cls(name=name, record=record, log=log, popen=popen)

    def check(self) -> None:
        """Raise CannotRunError when the child has ended, which none does unasked."""
        if self.popen.poll() is not None:
            raise CannotRunError(
                f"{self.name} stopped unexpectedly ({self._ending()}).{self.log_tail()}"
            )

    def wait_until(self, is_ready: Callable[[], bool], pause: Callable[[], None] = pause) -> None:
        """Wait for the child to serve.

        pause: called between two looks; it may raise to give up waiting.
        Raises CannotRunError when the child ends or START_TIMEOUT_S pass.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise CannotRunError(
                    f"{self.name} did not answer within {START_TIMEOUT_S} s.{self.log_tail()}"
                )
            pause()

    def stop(self) -> None:
        """End the child and everything it started; see Record.stop."""
        self.record.stop()
        self.popen.wait()

    def log_tail(self) -> str:
        """The end of its log, ready to follow a sentence."""
        if self.log is None:
            return " What it said stands above."
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "".join(["\nThe end of ", str(self.log), ":", *(f"\n  {line}" for line in lines)])

    def _ending(self) -> str:
        code = self.popen.returncode
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def take_over(state: State) -> int:
    """Stop what an owner that was killed left running, last started first; return how many."""
    records = sorted(
        state.run.glob("*.process"), key=lambda path: path.stat().st_mtime_ns, reverse=True
    )
    leftovers = 0
    for path in records:
        record = Record(path=path)
        leftovers += record.is_held()
        record.stop()
    return leftovers


def _create(path: Path, *, keep_last: bool = False) -> BinaryIO:
    """An empty file that nobody else can read; `keep_last` keeps its predecessor as NAME.1."""
    if keep_last and path.exists():
        path.replace(f"{path}.1")
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0)
