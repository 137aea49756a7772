"""The product under gunicorn, as a process of its own that a test may kill."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from django.conf import settings
from django.db import connection

PROJECT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Server:
    """address: where it listens. log: the file with all that it says."""

    address: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """End the master and its worker as a power cut does; repeat at will."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def running_server(
    directory: Path,
    *,
    application: str = "tests.scheduling.application",
    door: socket.socket | None = None,
    port: int = 0,
    knows_itself: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Serve an application, on the test's own database unless told otherwise.

    door: where to listen, for several servers that share it; without, it is a door of its own.
    port: of its own door; 0 for a free one.
    knows_itself: its APP_URL is where it listens, so that QStash can call it.
    """
    log = directory / "server.log"
    given = {
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "LOG_FILE": "-",
        "DEBUG": "false",
        **(environment or {}),
    }
    own_door = door.dup() if door else _listen(port)
    with own_door as listener, log.open("ab") as output:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if knows_itself:
            given["APP_URL"] = address
        options = ["--bind", f"fd://{listener.fileno()}", "--no-control-socket"]
        options += ["--worker-class", "gthread", "--threads", "8", "--log-level", "warning"]
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, application],
            cwd=PROJECT,
            env={**os.environ, **given},
            stdout=output,
            stderr=output,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    # Only the server has the socket now, so nobody waits at the door of a dead one.
    server = Server(address=address, log=log, process=process)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        server.kill()


def _listen(port: int) -> socket.socket:
    """Listen there, as soon as the worker of a server that was killed has let go of it."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def database_url() -> str:
    """The address of the database of this test, which has another name than that of the run."""
    address = urlsplit(os.environ["DATABASE_URL"])
    return address._replace(path="/" + connection.settings_dict["NAME"]).geturl()


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.process.poll() is None:
        with suppress(httpx2.TransportError):
            if httpx2.get(f"{server.address}/healthz", trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"The server did not start:\n{server.log.read_text()}")
