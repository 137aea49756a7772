"""Time as the server sees it, in Unix milliseconds."""

import asyncio
import time
from typing import Protocol

# The wall clock may be set, and a laptop may sleep: a timer that runs on the monotonic clock is
# therefore looked at again after this long, whatever it was set to.
LONGEST_SLEEP_S = 60.0


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Return the current Unix time in milliseconds."""

    async def wait(self, wake: asyncio.Event, until_ms: int | None) -> None:
        """Return when `wake` is set or the time has come; it may return earlier. None: never."""


class SystemClock:
    """The clock of the machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def wait(self, wake: asyncio.Event, until_ms: int | None) -> None:
        delay_s = LONGEST_SLEEP_S
        if until_ms is not None:
            delay_s = min(delay_s, (until_ms - self.now_ms()) / 1000)
        if delay_s <= 0:
            return
        try:
            async with asyncio.timeout(delay_s):
                await wake.wait()
        except TimeoutError:
            return


class ManualClock:
    """A clock that stands still until it is moved, from any thread. For tests."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._sleepers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, ms: int) -> None:
        """Move the time on by `ms` and wake everybody who waits for it."""
        self._now_ms += ms
        for event, loop in list(self._sleepers.items()):
            loop.call_soon_threadsafe(event.set)

    async def wait(self, wake: asyncio.Event, until_ms: int | None) -> None:
        # Registered before the look at the time: an advance between the two must wake us.
        self._sleepers[wake] = asyncio.get_running_loop()
        try:
            if until_ms is None or until_ms > self._now_ms:
                await wake.wait()
        finally:
            del self._sleepers[wake]
