"""An HTTP server that answers every request at once and notes when it came.

`python bench/sink.py` prints its port and serves until its input is closed. A body that is a number
is the Unix time, in nanoseconds, at which the request was meant to arrive. `GET /arrivals/500` is
answered once 500 have arrived since the last such request, with their times and delays as JSON.

It works on the bare protocol, so that it costs far less than what is measured.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import cast

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
ASKS = b"GET /arrivals/"
END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"
#: Connections that may wait to be accepted; asyncio's own 100 would make a burst try again.
BACKLOG = 4096


@dataclass(kw_only=True)
class Arrivals:
    """What has arrived since somebody asked last, and who waits for more."""

    times_ns: list[int] = field(default_factory=list)
    delays_ns: list[int] = field(default_factory=list)
    wanted: int = 0
    asker: asyncio.Transport | None = None

    def add(self, body: bytes) -> None:
        now_ns = time.time_ns()
        self.times_ns.append(now_ns)
        if body.isdigit():
            self.delays_ns.append(now_ns - int(body))
        self.tell()

    def tell(self) -> None:
        if self.asker is None or len(self.times_ns) < self.wanted:
            return
        content = json.dumps({"timesNs": self.times_ns, "delaysNs": self.delays_ns}).encode()
        self.asker.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        self.asker = None
        self.times_ns, self.delays_ns = [], []


class Connection(asyncio.Protocol):
    """One connection: a request, the answer, and again."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(END_OF_HEAD)
        length = content_length(head)
        if not end or len(rest) < length:
            return
        self._received = rest[length:]
        if head.startswith(ASKS):
            self._arrivals.wanted = int(head.removeprefix(ASKS).split()[0])
            self._arrivals.asker = self._transport
            self._arrivals.tell()
        else:
            self._transport.write(ANSWER)
            self._arrivals.add(rest[:length])


def content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(LENGTH)
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def serve() -> None:
    loop = asyncio.get_running_loop()
    arrivals = Arrivals()
    server = await loop.create_server(lambda: Connection(arrivals), "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The input closes with the process that started this one, however that ends.
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
