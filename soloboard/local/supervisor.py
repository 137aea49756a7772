"""The owner of all processes: starts them in order, watches them, stops them in reverse."""

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from soloboard.local import CannotRunError, environment, process
from soloboard.local.postgres import Postgres
from soloboard.local.process import Process, take_over
from soloboard.local.qstash import VARIABLES as QSTASH_VARIABLES
from soloboard.local.qstash import QStash
from soloboard.local.sockets import require_free_port
from soloboard.local.state import State
from soloboard.local.valkey import Valkey
from soloboard.local.web import Web

WEB_PORT = 8000
QSTASH_PORT = 8080


class CommandFailedError(CannotRunError):
    """A command of manage.py ended with an error; everything else runs."""


class StopAskedError(Exception):
    """Somebody pressed Ctrl-C, sent a signal or closed the terminal."""


class StopSignals:
    """Signals that ask for the end: noted at once, acted on between two steps, never within one.

    A child is therefore never started without being known, and stopping is not interrupted.
    """

    def __init__(self) -> None:
        self._received = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        # Under nohup a closed terminal is no reason to stop.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._note)

    def pause(self) -> None:
        """Wait a moment; raise StopAskedError when asked to stop."""
        process.pause()
        if self._received:
            raise StopAskedError

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = True


class Supervisor:
    """SoloBoard on this machine: the project in one directory, its state in var/ below it."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._state = State(project / "var")
        self._given = environment.given_variables(project)
        self._web_port = environment.port(self._given, "PORT", WEB_PORT)
        self._url = self._given.get("APP_URL", f"http://127.0.0.1:{self._web_port}").rstrip("/")
        self._signals = StopSignals()
        self._running: list[Process] = []

    def run(self) -> None:
        """Start everything and serve until asked to stop; leave no process behind either way.

        Raises CannotRunError when something cannot start, or ends unasked.
        """
        self._state.create()
        with self._claim(), ExitStack() as stack:
            if take_over(self._state):
                say("Stopped what an earlier run had left behind.")
            try:
                self._start(stack)
                while True:
                    self._pause()
            except StopAskedError:
                say("\nStopping …")
        say("Stopped. `make run` continues where it was.")

    @contextmanager
    def _claim(self) -> Iterator[None]:
        """Hold var/ for this process alone; the system lets go of it however this one ends."""
        with (self._state.run / "owner").open("a+") as owner:
            try:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner.seek(0)
                pid, _, url = owner.read().partition(" ")
                raise CannotRunError(
                    f"SoloBoard is already running here, at {url}: "
                    f"stop it with Ctrl-C in its terminal, or with `kill {pid}`."
                ) from None
            owner.truncate(0)
            owner.write(f"{os.getpid()} {self._url}")
            owner.flush()
            yield

    def _start(self, stack: ExitStack) -> None:
        require_free_port(self._web_port, "PORT")
        variables = {} if "APP_URL" in self._given else {"APP_URL": self._url}
        for service in self._services():
            self._serve(stack, service)
            variables |= service.variables()
        environment.write_local_variables(self._state, variables)
        password_file = environment.admin_password_file(self._state)
        self._manage("migrate", "--no-input")
        self._manage("init_local", SOLOBOARD_ADMIN_PASSWORD_FILE=str(password_file))
        self._serve(stack, Web(self._state, self._project, self._web_port))
        try:
            self._manage("init_qstash")
            self._manage("run_job", "sync-sites", "--through-qstash")
            self._manage("run_job", "process-user-actions")
            self._manage("run_job", "process-user-embeddings", "--through-qstash")
        except CommandFailedError as error:
            # Upstash may be away; that is no reason not to serve.
            say(f"{error}\nSoloBoard goes on without: repeat the command when that is mended.")
        self._announce(password_file, variables.get("QSTASH_URL", "Upstash"))

    def _services(self) -> list[Postgres | Valkey | QStash]:
        """Those of the three services that the owner of this machine did not bring."""
        services: list[Postgres | Valkey | QStash] = []
        if "DATABASE_URL" not in self._given:
            services.append(Postgres(self._state))
        if "REDIS_URL" not in self._given:
            services.append(Valkey(self._state))
        if "QSTASH_TOKEN" not in self._given:
            services.append(self._local_qstash())
        return services

    def _local_qstash(self) -> QStash:
        stray = [name for name in QSTASH_VARIABLES if name in self._given]
        if stray:
            raise CannotRunError(
                f"{', '.join(stray)} is set, but QSTASH_TOKEN is not: set all of "
                f"{', '.join(QSTASH_VARIABLES)} for Upstash, or none for the local QStash server."
            )
        port = environment.port(self._given, "QSTASH_DEV_PORT", QSTASH_PORT)
        require_free_port(port, "QSTASH_DEV_PORT")
        return QStash(self._state, self._project, port)

    def _serve(self, stack: ExitStack, service: Postgres | Valkey | QStash | Web) -> None:
        say(f"Starting {service.title} …")
        started = service.start()
        stack.callback(started.stop)
        self._running.append(started)
        started.wait_until(service.is_ready, self._pause)

    def _manage(self, *arguments: str, **variables: str) -> None:
        """Run one command of manage.py to its end, its output in var/log."""
        say(f"manage.py {' '.join(arguments)} …")
        command = Process.start(
            arguments[0],
            [sys.executable, "manage.py", *arguments],
            self._state,
            env={**os.environ, **variables},
            cwd=self._project,
        )
        try:
            while command.popen.poll() is None:
                self._pause()
        finally:
            command.stop()
        if command.popen.returncode != 0:
            raise CommandFailedError(
                f"`manage.py {' '.join(arguments)}` failed.{command.log_tail()}"
            )

    def _pause(self) -> None:
        """Let a moment pass; raise when a child has ended, or when asked to stop."""
        for child in self._running:
            child.check()
        self._signals.pause()

    def _announce(self, password_file: Path, qstash: str) -> None:
        say(
            f"""
SoloBoard runs at {self._url}

  admin      {self._url}/admin/
  user       admin
  password   {password_file.read_text().strip()}
  QStash     {qstash}
  logs       logs/app.log, and {self._state.log} for the services

Ctrl-C stops everything.
"""
        )


def say(text: str) -> None:
    """Tell the owner of this machine, at once."""
    print(text, flush=True)
