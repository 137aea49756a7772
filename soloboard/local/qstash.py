"""The QStash server that SoloBoard brings along, on loopback."""

import os
import sys
from pathlib import Path

from soloboard.local.process import Process
from soloboard.local.state import State

# What it prints once it listens, so that nothing needs to be known about it here.
VARIABLES = ("QSTASH_URL", "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")


class QStash:
    """`python -m qstash_server` with its state in var/qstash.sqlite3."""

    name = "qstash"
    title = "the QStash server"

    def __init__(self, state: State, project: Path, port: int) -> None:
        self._state = state
        self._project = project
        self._port = port
        # A file of its own and not the log, for it holds the token and the signing keys.
        self._output = state.run / "qstash.env"

    def start(self) -> Process:
        """Start the server."""
        options = ("--port", str(self._port), "--state", str(self._state.root / "qstash.sqlite3"))
        return Process.start(
            self.name,
            [sys.executable, "-m", "qstash_server", *options],
            self._state,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            cwd=self._project,
            output=self._output,
        )

    def is_ready(self) -> bool:
        """Whether it listens: then it has printed all its variables."""
        return self.variables().keys() == set(VARIABLES)

    def variables(self) -> dict[str, str]:
        """What the rest of SoloBoard needs to know; empty before the server is ready."""
        # A line without its end may be half a line.
        lines = self._output.read_text().split("\n")[:-1]
        pairs = (line.split("=", 1) for line in lines if "=" in line)
        return {name: value for name, value in pairs if name in VARIABLES}
