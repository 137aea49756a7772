"""A real server and a real destination, on one event loop in a thread of its own."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from qstash import QStash
from qstash.message import EnqueueResponse, PublishResponse

from qstash_server.clock import Clock, ManualClock
from qstash_server.envelope import Envelope
from qstash_server.server import Server
from qstash_server.settings import Settings

T = TypeVar("T")
DEADLINE_S = 20.0


class LoopThread:
    """An event loop in a thread; `run` hands it a coroutine and waits for the result."""

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE_S)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What the destination received; target is the raw path with its query, time_s monotonic."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    time_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the destination answers. delay_s: how long it takes to."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    delay_s: float = 0.0


class Sink:
    """The destination: keeps every delivery, answers 200 or what was scripted for the path.

    most_active: how many deliveries it has had at a time.
    """

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._arrived = threading.Condition()
        self._replies: dict[str, list[Reply]] = {}
        self._held: dict[str, asyncio.Event] = {}
        self.deliveries: list[Delivery] = []
        self._active = self.most_active = 0

    def __enter__(self) -> Self:
        self._loop.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._stop())

    async def _stop(self) -> None:
        self._closing.set_result(None)
        for held in self._held.values():
            held.set()
        await self._runner.cleanup()

    async def _start(self) -> None:
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        app = web.Application(client_max_size=200_000_000)
        app.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _receive(self, request: web.Request) -> web.Response:
        self._active += 1
        self.most_active = max(self.most_active, self._active)
        try:
            return await self._answer(request)
        finally:
            self._active -= 1

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        with self._arrived:
            self.deliveries.append(
                Delivery(
                    method=request.method,
                    target=request.raw_path,
                    headers=request.headers.copy(),
                    body=body,
                    time_s=time.monotonic(),
                )
            )
            replies = self._replies.get(request.raw_path.partition("?")[0], [])
            reply = replies.pop(0) if len(replies) > 1 else replies[0] if replies else Reply()
            self._arrived.notify_all()
        if reply.delay_s:
            await asyncio.wait([self._closing], timeout=reply.delay_s)
        held = self._held.get(request.raw_path)
        if held is not None:
            await held.wait()
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

    def reply(self, path: str, *replies: Reply) -> str:
        """Answer requests to `path` in this order; the last one stays. Returns the URL."""
        self._replies[path] = list(replies)
        return self.url + path

    def hold(self, path: str) -> str:
        """Answer requests to `path` only once they are released. Returns the URL."""
        self._held[path] = asyncio.Event()
        return self.url + path

    def release(self, path: str) -> None:
        self._loop.loop.call_soon_threadsafe(self._held.pop(path).set)

    def to(self, path: str) -> list[Delivery]:
        return [d for d in self.deliveries if d.target.partition("?")[0] == path]

    def wait_for(self, path: str, count: int = 1) -> list[Delivery]:
        """Return the deliveries to `path` once there are `count` of them."""
        with self._arrived:
            found = self._arrived.wait_for(lambda: len(self.to(path)) >= count, DEADLINE_S)
        assert found, f"{len(self.to(path))} of {count} deliveries to {path} arrived"
        return self.to(path)


@dataclass(frozen=True, kw_only=True)
class Raw:
    """An answer to a request that was written by hand."""

    status: int
    text: str
    headers: Message

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Running:
    """A server that listens, with the official SDK pointed at it."""

    def __init__(self, loop: LoopThread, settings: Settings, clock: Clock) -> None:
        self.loop = loop
        self.clock = clock
        self.server = Server(settings, clock, _known)

    def __enter__(self) -> Self:
        self.loop.run(self.server.__aenter__())
        self.url = self.server.url
        self.token = self.server.broker.settings.token
        self.sdk = QStash(self.token, retry=False, base_url=self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.sdk.http._client.close()
        self.loop.run(self.server.__aexit__())

    def publish(self, url: str, *, body: str = "x", **options: Any) -> str:
        """Publish one message through the SDK and return its id."""
        return publish(self.sdk, url, body=body, **options).message_id

    def enqueue(self, queue: str, url: str, *, body: str = "x", **options: Any) -> str:
        """Enqueue one message through the SDK and return its id."""
        response = self.sdk.message.enqueue(queue=queue, url=url, body=body, **options)
        assert isinstance(response, EnqueueResponse)
        return response.message_id

    def settle(self) -> None:
        """Wait until everything has happened that can happen without the time moving."""

        async def idle() -> None:
            async with asyncio.timeout(DEADLINE_S):
                while not self.server.broker.scheduler.idle:  # noqa: ASYNC110 - nobody is told
                    await asyncio.sleep(0.001)

        self.loop.run(idle())

    def rest(self) -> None:
        """Wait until everything has started that may; unlike `settle`, not until it has ended."""

        async def rest() -> None:
            scheduler = self.server.broker.scheduler
            async with asyncio.timeout(DEADLINE_S):
                while not scheduler._waiting or any(  # noqa: ASYNC110 - nobody is told
                    due is not None and due <= self.clock.now_ms() for due in scheduler._nexts()
                ):
                    await asyncio.sleep(0.001)

        self.loop.run(rest())

    def advance(self, seconds: float) -> None:
        """Move the time on, and wait for what follows from that."""
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(round(seconds * 1000))
        self.settle()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
    ) -> Raw:
        """Send a request as curl would: nothing is normalised. token: "" sends none."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=DEADLINE_S)
        sent = {"Authorization": f"Bearer {self.token if token is None else token}"}
        if token == "":
            sent = {}
        try:
            connection.request(method, path, body, sent | dict(headers or {}))
            response = connection.getresponse()
            text = response.read().decode()
            return Raw(status=response.status, text=text, headers=response.headers)
        finally:
            connection.close()

    def states(self, message_id: str) -> list[str]:
        """Return the log of a message, the oldest event first."""
        answer = self.request("GET", f"/v2/events?messageId={message_id}&order=earliestFirst")
        return [event["state"] for event in answer.json["events"]]


async def _known(host: str) -> bool:
    """Stands in for the resolver: what tests see does not depend on the network."""
    return not host.endswith(".invalid")


def publish(sdk: QStash, url: str, **options: Any) -> PublishResponse:
    response = sdk.message.publish(url=url, **options)
    assert isinstance(response, PublishResponse)
    return response


def settings(path: Path, **changes: Any) -> Settings:
    return Settings(state=path, port=0, grace_s=0.2, **changes)


def envelope(
    url: str = "http://127.0.0.1:9/x", *, retries: int = 3, retry_delay: str | None = None
) -> Envelope:
    return Envelope(
        url=url,
        method="POST",
        headers={"Content-Type": ["text/plain"]},
        body=b"body",
        retries=retries,
        retry_delay=retry_delay,
        timeout_s=None,
        callback=None,
        failure_callback=None,
        labels=("label",),
        redact=(),
        caller_ip="127.0.0.1",
    )
