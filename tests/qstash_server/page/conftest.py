from collections.abc import Iterator
from pathlib import Path

import pytest

from qstash_server.clock import ManualClock
from tests.qstash_server.running import LoopThread, Running, settings

PAGE = {"X-Requested-With": "qstash-page"}
TOKEN = "a secret of one's own: ü"


@pytest.fixture
def closed(loop: LoopThread, state: Path, clock: ManualClock) -> Iterator[Running]:
    """A server with a token of its own, to which one has to log in."""
    with Running(loop, settings(state, token=TOKEN), clock) as running:
        yield running


def log_in(server: Running, headers: dict[str, str] = PAGE) -> dict[str, str]:
    """Log in with the server's token. Returns the headers of a call by the page from then on."""
    bearer = {"Authorization": f"Bearer {server.token}".encode().decode("latin-1")}
    answer = server.request("POST", "/page/session", headers=headers | bearer, token="")
    assert (answer.status, answer.text) == (200, "")
    cookie, _, attributes = answer.headers["Set-Cookie"].partition("; ")
    assert attributes.startswith("Path=/page; Max-Age=43200; HttpOnly; SameSite=Strict")
    return {**PAGE, "Cookie": f"other=1; {cookie}"}
