"""An empty queue, and something to put into it."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client

from recommendations import queue, valkey
from recommendations.processing import process
from recommendations.tokens import issue
from recommendations.valkey import server
from scheduling.run import JobResult, Run

WHEN = "2026-02-07T10:30:00Z"

Drain = Callable[..., JobResult]


@pytest.fixture
def redis() -> Iterator[Any]:
    """Redis with nothing of ours in it, before and after."""
    redis = server()
    _clear(redis)
    yield redis
    _clear(redis)


@pytest.fixture
def drain(redis: Any, db: None) -> Drain:
    """Process the queue within a time."""

    def run(*, time_s: float = 60.0) -> JobResult:
        deadline = time.monotonic() + time_s
        return process(Run(id=0, payload={}, deadline=deadline, report=lambda done, total: None))

    return run


@pytest.fixture
def token(db: None) -> str:
    """The token of an application."""
    return issue("shop")[1]


@pytest.fixture
def application(token: str) -> Client:
    """A client that carries the token."""
    return Client(headers={"Authorization": f"Bearer {token}"})


def entry(**fields: Any) -> dict[str, Any]:
    """An action as a producer writes it; a field that is None is left out."""
    whole = {"user_id": "u1", "item_id": "i1", "action": "view", "occurred_at": WHEN, **fields}
    return {name: value for name, value in whole.items() if value is not None}


def raw(**fields: Any) -> bytes:
    return json.dumps(entry(**fields)).encode()


def _clear(redis: Any) -> None:
    for pattern in (f"{queue.PENDING}*", "soloboard:recommend:*"):
        for key in redis.scan_iter(match=pattern):
            redis.delete(key)


@pytest.fixture
def no_lists() -> Iterator[None]:
    """Remove what recommendations keep in Valkey, before and after."""
    _remove()
    yield
    _remove()


def _remove() -> None:
    redis = valkey.server()
    keys = list(redis.scan_iter("soloboard:recommend:*"))
    if keys:
        redis.delete(*keys)
