"""Questions to Valkey (or Redis) that have another answer when it is away."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

#: After a failure nobody waits for it again for so long: a server that hangs takes seconds to fail.
PAUSE_S = 5.0

_not_before = 0.0


def ask(question: Callable[[Redis], Answer]) -> Answer | None:
    """The answer, or None when Valkey is away; then the caller goes on without it."""
    global _not_before
    if time.monotonic() < _not_before:
        return None
    try:
        return question(server())
    except RedisError as error:
        logger.warning("Valkey is away; lists are made without it: %s", error)
        _not_before = time.monotonic() + PAUSE_S
        return None


def server() -> Any:
    """Valkey itself, past the prefixes of Django's cache, for work that cannot be done without it.

    Values come as bytes.
    """
    # redis-py's own annotations allow for every protocol and decoding at once.
    return get_redis_connection("default")
