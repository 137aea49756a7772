"""An HTTP server that answers every request after a fixed delay and does nothing else.

`python bench/slow_server.py MILLISECONDS` prints its port and serves until its input is closed.
It works on the bare protocol, so that it costs far less than the client that is measured.
"""

import asyncio
import sys
from typing import cast

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
END_OF_HEAD = b"\r\n\r\n"
#: Connections that may wait to be accepted; asyncio's own 100 would make a burst try again.
BACKLOG = 4096


class SlowAnswer(asyncio.Protocol):
    """One connection: a request without a body, the delay, the answer, and again."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(END_OF_HEAD):
            self._received = b""
            self._loop.call_later(self._delay_s, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def serve(delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SlowAnswer(delay_s), "127.0.0.1", 0, backlog=BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The input closes with the process that started this one, however that ends.
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) / 1000))
