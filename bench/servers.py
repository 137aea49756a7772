"""What a benchmark needs around it: a database of its own, Django set up, a slow web server."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from soloboard.local.postgres import Postgres
from soloboard.local.state import State
from soloboard.local.valkey import Valkey
from soloboard.local.web import Web
from tests.services import SETTINGS

#: Nothing answers there: most benchmarks need no Redis, but the settings want an address.
NO_REDIS = "redis://127.0.0.1:1/0"
SLOW_SERVER = Path(__file__).with_name("slow_server.py")


@contextmanager
def board(
    settings_module: str = "soloboard.settings", *, redis: bool = False
) -> Iterator[dict[str, str]]:
    """Set Django up on an empty database, kept as safely as that of `make run`.

    redis: whether a Valkey is started too.
    Yields the environment for further processes of the same board.
    """
    with tempfile.TemporaryDirectory(prefix="soloboard-bench-") as directory:
        state = State(Path(directory))
        state.create()
        with ExitStack() as stack:
            services: list[Postgres | Valkey] = [Postgres(state)]
            if redis:
                services.append(Valkey(state))
            for service in services:
                process = service.start()
                stack.callback(process.stop)
                process.wait_until(service.is_ready)
            environment = {
                **SETTINGS,
                "REDIS_URL": NO_REDIS,
                **{
                    name: value
                    for service in services
                    for name, value in service.variables().items()
                },
                "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
                "LOG_FILE": str(state.log / "app.log"),
                "DJANGO_SETTINGS_MODULE": settings_module,
            }
            os.environ.update(environment)
            _set_up_django()
            yield environment


def _set_up_django() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


@contextmanager
def web_server(project: Path) -> Iterator[int]:
    """Serve the board as `make run` does; yields the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="soloboard-bench-") as directory:
        state = State(Path(directory))
        state.create()
        web = Web(state, project, port)
        with _said_to(state.log / "web.log"):
            process = web.start()
        try:
            process.wait_until(web.is_ready)
            yield port
        finally:
            process.stop()


@contextmanager
def _said_to(path: Path) -> Iterator[None]:
    """Have what a child says on the terminal stand in a file instead."""
    terminal = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


@contextmanager
def slow_server(delay_ms: int) -> Iterator[str]:
    """Serve on loopback, each answer after a delay; yields the address."""
    process = subprocess.Popen(
        [sys.executable, str(SLOW_SERVER), str(delay_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        if process.stdout is None:
            raise RuntimeError("The slow server has no output to read its port from.")
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        # Leaving closes its input, which ends it.
