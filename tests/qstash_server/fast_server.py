"""A server whose time runs faster, as a process that can be killed. A minute of its is a second.

`python -m tests.qstash_server.fast_server STATE EPOCH_MS` prints its URL once it answers. Its clock
agreed with that of the machine at EPOCH_MS, so it goes on while the process is dead.
"""

import asyncio
import sys
from pathlib import Path

from qstash_server.clock import SystemClock
from qstash_server.server import Server
from qstash_server.settings import Settings
from qstash_server.state.retention import Retention

SPEED = 60
MINUTE_MS = 60_000
#: Longer than any test: what has happened must all be there in the end.
FOREVER = Retention(log_s=10**9, dlq_s=10**9, settled=10**9)


class FastClock:
    """The clock of the machine, SPEED times as fast since `epoch_ms`."""

    def __init__(self, epoch_ms: int) -> None:
        self._epoch_ms = epoch_ms
        self._machine = SystemClock()

    def now_ms(self) -> int:
        return self._epoch_ms + (self._machine.now_ms() - self._epoch_ms) * SPEED

    async def wait(self, wake: asyncio.Event, until_ms: int | None) -> None:
        if until_ms is not None:
            until_ms = self._epoch_ms - (self._epoch_ms - until_ms) // SPEED  # Rounded up.
        await self._machine.wait(wake, until_ms)


async def serve(state: Path, epoch_ms: int) -> None:
    settings = Settings(state=state, port=0, retention=FOREVER)
    async with Server(settings, FastClock(epoch_ms)) as server:
        print(server.url, flush=True)
        await server.scheduling


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
