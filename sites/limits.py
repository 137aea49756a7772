"""Keeping within what the API of an account allows, all processes together.

What an account has used stands in Valkey under a keyed digest of it, never under the account itself,
which may be a key. While Valkey is away each process keeps the limits for itself.
"""

import asyncio
import logging
import random
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from django.utils.crypto import salted_hmac
from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import RedisError

from sites.outbound import Client
from sites.platforms.base import Limits, Platform, PutOff

logger = logging.getLogger(__name__)

WINDOW_S = 60.0
#: When all places are taken nobody knows when one becomes free, so it is asked again after about
#: this time.
PLACE_POLL_S = 0.1
#: A call holds its place for as long as its fetch may take and this much longer, in case its process
#: dies.
LEASE_GRACE_S = 5.0
#: After a failure Valkey is not asked again for so long: one that hangs takes seconds to fail.
PAUSE_S = 30.0

Turn = Callable[[], AbstractAsyncContextManager[None]]

_valkey_not_before = 0.0


def turn_of(
    platform: Platform,
    options: Mapping[str, Any],
    credentials: Mapping[str, str],
    client: Client,
) -> Turn:
    """What each request of a fetch waits for and holds while it is under way; see `Client.turn`.

    Entering it raises PutOff when the client's time does not suffice for the wait.
    """
    if platform.limits is None:
        return nullcontext
    account = digest(platform.key, platform.account(options, credentials))
    return partial(_turn, account, platform.limits, client)


@asynccontextmanager
async def _turn(account: str, limits: Limits, client: Client) -> AsyncIterator[None]:
    call = uuid.uuid4().hex
    while wait_s := await asyncio.to_thread(
        begin, account, limits, call, client.left_s + LEASE_GRACE_S
    ):
        if wait_s >= client.left_s:
            raise PutOff(
                "Other fetches use up what this account may ask for at a time, and there was no time"
                " left to wait.",
                retry_after_s=wait_s,
            )
        # Not all at once, or most of them would ask in vain again.
        wait_s += random.uniform(0, PLACE_POLL_S)  # noqa: S311 - not a secret
        await asyncio.sleep(min(wait_s, client.left_s))
    try:
        yield
    finally:
        # To its end also when the fetch is cut off: others wait for the place.
        await asyncio.shield(asyncio.to_thread(end, account, call))


def begin(account: str, limits: Limits, call: str, lease_s: float) -> float:
    """Begin a call and return 0, or return the seconds after which it makes sense to ask again.

    lease_s: after which a call that did not end counts as dead.
    """
    wait_ms = _ask_valkey(
        lambda valkey: valkey.register_script(NOW_OF_VALKEY + BEGIN)(
            keys=_keys(account),
            args=[limits.per_minute, limits.concurrent, call, round(lease_s * 1000)],
        )
    )
    if wait_ms is None:
        return _own_usage.begin(account, limits, call, lease_s)
    return float(wait_ms) / 1000


def end(account: str, call: str) -> None:
    """End a call. One that is under way no more is ended already."""
    _own_usage.end(account, call)
    _, under_way = _keys(account)
    _ask_valkey(lambda valkey: valkey.zrem(under_way, call))


def digest(platform: str, account: str) -> str:
    """The name that an account goes by here."""
    return salted_hmac("sites.limits", f"{platform}:{account}", algorithm="sha256").hexdigest()


# --- In Valkey ------------------------------------------------------------------------------------

#: One clock for all processes.
NOW_OF_VALKEY = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

#: As `Usage.begin`, in whole milliseconds.
BEGIN = """
local began, under_way = KEYS[1], KEYS[2]
local per_minute, concurrent = tonumber(ARGV[1]), tonumber(ARGV[2])
local call, lease = ARGV[3], tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', began, '-inf', now - 60000)
redis.call('ZREMRANGEBYSCORE', under_way, '-inf', now)
local recent = redis.call('ZCARD', began)
if recent >= per_minute then
    local place = recent - per_minute
    return redis.call('ZRANGE', began, place, place, 'WITHSCORES')[2] + 60000 - now
end
if redis.call('ZCARD', under_way) >= concurrent then
    return 100
end
redis.call('ZADD', began, now, call)
redis.call('PEXPIRE', began, 60000)
redis.call('ZADD', under_way, now + lease, call)
if redis.call('PTTL', under_way) < lease then
    redis.call('PEXPIRE', under_way, lease)
end
return 0
"""


def _keys(account: str) -> tuple[str, str]:
    # The braces keep both on one node of a cluster.
    return f"soloboard:limits:{{{account}}}:began", f"soloboard:limits:{{{account}}}:under-way"


def _ask_valkey(question: Callable[[Redis], Any]) -> Any:
    """Its answer, or None while it is away."""
    global _valkey_not_before
    if time.monotonic() < _valkey_not_before:
        return None
    try:
        return question(get_redis_connection("default"))
    except RedisError as error:
        _valkey_not_before = time.monotonic() + PAUSE_S
        logger.warning(
            "Valkey is away, so each process keeps the limits of platforms for itself: %s", error
        )
        return None


# --- In this process ------------------------------------------------------------------------------


class Usage:
    """What one account has used: when calls began within the last minute, and which are under way."""

    def __init__(self) -> None:
        self._began: deque[float] = deque()
        self._under_way: dict[str, float] = {}

    def begin(self, limits: Limits, call: str, now: float, lease_s: float) -> float:
        """As the function; now: in seconds, never going back."""
        while self._began and self._began[0] <= now - WINDOW_S:
            self._began.popleft()
        self._under_way = {other: ends for other, ends in self._under_way.items() if ends > now}
        if len(self._began) >= limits.per_minute:
            # More than these may have begun, under a limit that was higher then.
            return self._began[-limits.per_minute] + WINDOW_S - now
        if len(self._under_way) >= limits.concurrent:
            return PLACE_POLL_S
        self._began.append(now)
        self._under_way[call] = now + lease_s
        return 0.0

    def end(self, call: str) -> None:
        self._under_way.pop(call, None)


class OwnUsage:
    """The usage of all accounts by the threads of this process."""

    def __init__(self) -> None:
        self._usages: defaultdict[str, Usage] = defaultdict(Usage)
        self._lock = threading.Lock()

    def begin(self, account: str, limits: Limits, call: str, lease_s: float) -> float:
        with self._lock:
            return self._usages[account].begin(limits, call, time.monotonic(), lease_s)

    def end(self, account: str, call: str) -> None:
        with self._lock:
            if account in self._usages:
                self._usages[account].end(call)


_own_usage = OwnUsage()
