"""Requests over bare sockets: a load that costs far less than the server that answers it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import cast

CONNECTIONS = 64
#: Requests that a connection has under way at a time.
DEPTH = 4
LONGEST_WAIT_S = 60
#: 200 OK and 202 Accepted.
OK = (b"HTTP/1.1 200 ", b"HTTP/1.1 202 ")
END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"


class Caller(asyncio.Protocol):
    """A connection that is kept. It takes its requests from an iterator that others take from too.

    idle: nothing is under way, or something went wrong; `failure` says what.
    """

    def __init__(self, requests: Iterator[bytes], depth: int) -> None:
        self._requests = requests
        self._depth = depth
        self._under_way = 0
        self._received = b""
        self.idle = asyncio.Event()
        self.idle.set()
        self.failure: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def start(self) -> None:
        for _ in range(self._depth):
            self._send_next()

    def send(self, request: bytes) -> None:
        if self.failure:
            return
        self._under_way += 1
        self.idle.clear()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(END_OF_HEAD)
            length = content_length(head)
            if not end or len(rest) < length:
                return
            self._received = rest[length:]
            self._under_way -= 1
            if not head.startswith(OK):
                self._fail(f"The answer was {head!r} {rest[:length]!r}")
                return
            self._send_next()

    def connection_lost(self, error: Exception | None) -> None:
        if self._under_way:
            self._fail("The server closed a connection with requests under way.")

    def _send_next(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self.send(request)
        elif not self._under_way:
            self.idle.set()

    def _fail(self, failure: str) -> None:
        self.failure = self.failure or failure
        self.transport.abort()
        self.idle.set()


def content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(LENGTH)
    return int(rest.partition(b"\r\n")[0]) if found else 0


@asynccontextmanager
async def callers(
    port: int, requests: Iterator[bytes], *, connections: int = CONNECTIONS, depth: int = DEPTH
) -> AsyncIterator[list[Caller]]:
    """Open the connections. Raises RuntimeError in the end if anything went wrong on one."""
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(connections):
        _, caller = await loop.create_connection(lambda: Caller(requests, depth), "127.0.0.1", port)
        opened.append(caller)
    yield opened
    for caller in opened:
        caller.transport.abort()
        if caller.failure:
            raise RuntimeError(caller.failure)


async def send_all(
    port: int, requests: Iterable[bytes], *, connections: int = CONNECTIONS, depth: int = DEPTH
) -> float:
    """Send the next request whenever one is answered. Returns how many seconds they all took."""
    async with callers(port, iter(requests), connections=connections, depth=depth) as opened:
        started = time.perf_counter()
        for caller in opened:
            caller.start()
        await asyncio.gather(*(caller.idle.wait() for caller in opened))
        return time.perf_counter() - started


async def send_paced(
    port: int, make_request: Callable[[], bytes], *, count: int, per_second: float
) -> None:
    """Send requests at a rate, whether the earlier ones are answered or not.

    make_request: called at the moment at which the request goes out.
    """
    async with callers(port, iter(())) as opened:
        started = time.perf_counter()
        for number in range(count):
            wait_s = started + number / per_second - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            opened[number % len(opened)].send(make_request())
        await asyncio.gather(*(caller.idle.wait() for caller in opened))


async def ask(port: int, path: str) -> bytes:
    """Return the body of the answer to a single GET, which may take its time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    async with asyncio.timeout(LONGEST_WAIT_S):
        length = content_length(await reader.readuntil(END_OF_HEAD))
        body = await reader.readexactly(length)
    writer.close()
    return body
