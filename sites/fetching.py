"""Fetching many sites at once: an event loop on a thread of its own, results handed over as they
come.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from django.conf import settings

from sites.attempts import Attempt, attempt
from sites.models import MonitoredSite
from sites.outbound import Outbound

CONCURRENCY = 100
#: Fetches begin one after another. A hundred begun at the same instant would stay together, wait for
#: each other at every step, and measure that as the latency of their sites.
START_INTERVAL_S = 0.001
#: No platform needs longer for today and a few days.
FETCH_LIMIT_S = 60.0


class Fetcher:
    """Fetches sites concurrently; iterating yields each attempt as soon as it is there.

    The loop lives on a thread, so that the caller can write to the database, which is synchronous,
    while fetches go on: a slow site holds up nothing but its own place. Leaving the `with` block
    ends what is still under way.

    deadline: time.monotonic() by which all is over. Near it no fetch is started that could only be
        cut off; sites that were not reached are not yielded.
    past_days: see `attempt`.
    fetch_limit_s: what takes longer is cut off and counted as failed.
    """

    def __init__(
        self,
        sites: Sequence[MonitoredSite],
        *,
        deadline: float,
        past_days: int | None = None,
        fetch_limit_s: float = FETCH_LIMIT_S,
    ) -> None:
        self._workers = min(CONCURRENCY, len(sites))
        self._sites = iter(sites)
        self._past_days = past_days
        self._fetch_limit_s = min(fetch_limit_s, max(0.0, deadline - time.monotonic()) / 2)
        self._last_start = deadline - self._fetch_limit_s
        self._attempts: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name="fetcher", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        self._thread.join()

    def __iter__(self) -> Iterator[Attempt]:
        while (made := self._attempts.get()) is not None:
            yield made
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._fetch_all())
        except BaseException as error:  # Handed to the thread that iterates.
            self._error = error
        finally:
            self._attempts.put(None)

    async def _fetch_all(self) -> None:
        outbound = Outbound(
            allowed_networks=settings.ALLOWED_PRIVATE_NETWORKS,
            allowed_ports=settings.ALLOWED_PORTS,
        )
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(outbound, wait_s=number * START_INTERVAL_S))
            if task:
                self._stop = lambda: loop.is_closed() or loop.call_soon_threadsafe(task.cancel)

    async def _work(self, outbound: Outbound, *, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        # The workers share one iterator: whoever is free takes the next site.
        for site in self._sites:
            if time.monotonic() >= self._last_start:
                return
            made = await attempt(
                site, outbound, timeout_s=self._fetch_limit_s, past_days=self._past_days
            )
            self._attempts.put(made)
