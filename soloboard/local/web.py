"""The web server."""

import http.client
import os
import sys
from pathlib import Path

from soloboard.local.process import Process
from soloboard.local.state import State

# A sync may take 300 s (its time limit at QStash); a worker silent for longer hangs.
WORKER_TIMEOUT_S = 330
# On the way out, a request in flight gets this long; QStash repeats a delivery cut short.
GRACEFUL_TIMEOUT_S = 10


class Web:
    """Gunicorn on loopback; what it and the application say goes to the terminal."""

    name = "web"
    title = "the web server"

    def __init__(self, state: State, project: Path, port: int) -> None:
        self._state = state
        self._project = project
        self._port = port

    def start(self) -> Process:
        """Start the server."""
        options = {
            "bind": f"127.0.0.1:{self._port}",
            "worker-class": "gthread",
            "workers": 2,
            "threads": 4,
            "timeout": WORKER_TIMEOUT_S,
            "graceful-timeout": GRACEFUL_TIMEOUT_S,
            "log-level": "warning",
        }
        return Process.start(
            self.name,
            [
                *(sys.executable, "-m", "gunicorn", "soloboard.wsgi", "--no-control-socket"),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            self._state,
            env=os.environ,
            cwd=self._project,
            on_terminal=True,
        )

    def is_ready(self) -> bool:
        """Whether the application answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
