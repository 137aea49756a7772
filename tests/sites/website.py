"""A server on the loopback that monitored sites lie on, on a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from django.db import connections

from tests.sites.loopback import Answer, Answers, Loopback, Request, http

#: What a path answers: bytes, nothing at all, or a function that decides by the request.
Page = Answers | bytes | None


class Website:
    """Answers 200 to everything but what `pages` says otherwise; that may change while it runs."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server = Loopback(self._answer)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.__aenter__(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        leaving = self._server.__aexit__(None, None, None)
        try:
            asyncio.run_coroutine_threadsafe(leaving, self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @property
    def requests(self) -> list[Request]:
        return self._server.requests

    @property
    def paths(self) -> list[str]:
        """What was asked for so far."""
        return [request.target for request in self.requests]

    def url(self, path: str = "/") -> str:
        return self._server.url(path)

    def _answer(self, request: Request) -> Answer:
        page = self.pages.get(request.target, http("fine"))
        return page(request) if callable(page) else page


def during(work: Callable[[], object], status: int = 200) -> Answers:
    """A page that has somebody else work with the database before it answers."""

    def and_leave() -> None:
        try:
            work()
        finally:
            connections.close_all()

    async def page(request: Request) -> AsyncIterator[bytes]:
        await asyncio.get_running_loop().run_in_executor(None, and_leave)
        yield http("fine", status=status)

    return page


def after(delay_s: float, answer: bytes | None = None) -> Callable[[Request], AsyncIterator[bytes]]:
    """A page that takes its time."""

    async def page(request: Request) -> AsyncIterator[bytes]:
        await asyncio.sleep(delay_s)
        yield http("late") if answer is None else answer

    return page
