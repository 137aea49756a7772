"""A whole server: opens the state, starts the parts, listens, and stops in order."""

import asyncio
import logging
import socket
from functools import partial

from aiohttp import web

from qstash_server.app import make_app
from qstash_server.broker import Broker
from qstash_server.clock import Clock, SystemClock
from qstash_server.delivery import Courier
from qstash_server.errors import StartError
from qstash_server.scheduler import Scheduler
from qstash_server.settings import Settings
from qstash_server.signing import SigningKeys
from qstash_server.state import keys
from qstash_server.state.database import Database

logger = logging.getLogger(__name__)


class Server:
    """Use as an async context manager: it listens inside, and has stopped afterwards.

    url: where it listens. scheduling: the task that sends; it ends only by a fault.
    """

    url: str
    broker: Broker
    scheduling: "asyncio.Task[None]"

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        settings.check()
        self._settings = settings
        self._clock = clock or SystemClock()

    @property
    def signing_keys(self) -> SigningKeys:
        return self.broker.courier.keys

    async def __aenter__(self) -> "Server":
        """Start. Raises StartError with a sentence for the person at the terminal."""
        # The port first: a second server is told about the port, which is what it sees, and does
        # not touch the state.
        listener = _listen(self._settings.host, self._settings.port)
        try:
            self._database = Database(self._settings.state)
        except BaseException:
            listener.close()
            raise
        await self._start(listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop accepting, let deliveries in flight end, write everything, let go of the state."""
        await self._runner.cleanup()
        self.scheduling.cancel()
        await asyncio.gather(self.scheduling, return_exceptions=True)
        await self.broker.scheduler.stop(self._settings.grace_s)
        await self.broker.courier.close()
        self._database.close()

    async def _start(self, listener: socket.socket) -> None:
        settings = self._settings
        signing_keys = await self._database.write(
            partial(keys.load, configured=settings.signing_keys)
        )
        courier = Courier(keys=signing_keys, longest_timeout_s=settings.longest_timeout_s)
        scheduler = Scheduler(
            database=self._database,
            courier=courier,
            clock=self._clock,
            parallelism=settings.parallelism,
            retention=settings.retention,
        )
        await scheduler.load()
        self.broker = Broker(
            settings=settings,
            clock=self._clock,
            database=self._database,
            courier=courier,
            scheduler=scheduler,
        )
        self.scheduling = asyncio.create_task(scheduler.run())
        # Bodies are passed on as they came, so compressed ones are not unpacked on the way in.
        self._runner = web.AppRunner(
            make_app(self.broker), access_log=None, auto_decompress=False, shutdown_timeout=1.0
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()
        self.url = _url(listener)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"Cannot listen on {host}: {error}.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise StartError(
            f"The port {port} on {host} cannot be used ({error.strerror}): stop what is using it, "
            "or choose another one with --port."
        ) from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
