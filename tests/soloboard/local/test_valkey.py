"""A real Redis-compatible server that loses nothing it has answered for."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from soloboard.local.process import Process
from soloboard.local.state import State
from soloboard.local.valkey import Valkey
from tests.soloboard.local.conftest import Service

Serve = Callable[[Service], Process]


def client(valkey: Valkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url(), decode_responses=True)


def test_it_listens_on_a_private_socket_and_no_port(state: State, serve: Serve) -> None:
    valkey = Valkey(state)
    serve(valkey)
    with client(valkey) as connection:
        assert connection.config_get("port") == {"port": "0"}
    data = state.root / "valkey"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "valkey.sock").stat().st_mode) == 0o700


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_what_was_answered_is_there_after(end: str, state: State, serve: Serve) -> None:
    valkey = Valkey(state)
    first = serve(valkey)
    with client(valkey) as connection:
        connection.rpush("pending_user_actions", "an action")
    getattr(first.popen, end)()
    first.stop()
    serve(valkey)
    with client(valkey) as connection:
        assert connection.lrange("pending_user_actions", 0, -1) == ["an action"]


@pytest.mark.parametrize("name", ["x" * 120, "with, comma,  \"quotes' and ünïcode?#"])
def test_the_project_may_lie_in_any_path(name: str, place: Path, serve: Serve) -> None:
    (place / name).mkdir()
    state = State(place / name / "var")
    state.create()
    serve(Valkey(state))
