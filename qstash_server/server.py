"""A whole server: opens the state, starts the parts, listens, and stops in order."""

import asyncio
import socket
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web

from qstash_server.app import make_app
from qstash_server.broker import Broker
from qstash_server.clock import Clock, SystemClock
from qstash_server.dispatch.delivery import MAX_HEADER_BYTES, Courier
from qstash_server.dispatch.scheduler import Scheduler
from qstash_server.errors import StartError
from qstash_server.firewall import Firewall, Lookup, SystemLookup
from qstash_server.settings import Settings
from qstash_server.signing import SigningKeys
from qstash_server.state import keys
from qstash_server.state.database import Database


class Server:
    """Use as an async context manager: it listens inside, and has stopped afterwards.

    url: where it listens. scheduling: the task that sends; it ends only by a fault.
    """

    url: str
    broker: Broker
    scheduling: "asyncio.Task[None]"

    def __init__(
        self, settings: Settings, clock: Clock | None = None, lookup: Lookup | None = None
    ) -> None:
        settings.check()
        self._settings = settings
        self._clock = clock or SystemClock()
        self._lookup = lookup or SystemLookup()

    @property
    def signing_keys(self) -> SigningKeys:
        return self.broker.courier.keys

    async def __aenter__(self) -> "Server":
        """Start. Raises StartError with a sentence for the person at the terminal."""
        async with AsyncExitStack() as parts:
            await self._start(parts)
            self._parts = parts.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop accepting, let deliveries in flight end, write everything, let go of the state."""
        await self._parts.aclose()

    async def _start(self, parts: AsyncExitStack) -> None:
        """Start the parts; they stop in the opposite order, also when a later one cannot start."""
        settings = self._settings
        # The port first: it is what somebody who starts a second server has to hear about.
        listener = parts.enter_context(_listen(settings.host, settings.port))
        database = Database(settings.state)
        parts.callback(database.close)
        signing_keys = await database.write(partial(keys.load, configured=settings.signing_keys))
        firewall = Firewall(allowed=settings.destinations, lookup=self._lookup)
        courier = Courier(
            keys=signing_keys, longest_timeout_s=settings.longest_timeout_s, firewall=firewall
        )
        parts.push_async_callback(courier.close)
        scheduler = Scheduler(
            database=database,
            courier=courier,
            clock=self._clock,
            parallelism=settings.parallelism,
            retention=settings.retention,
        )
        await scheduler.load()
        parts.push_async_callback(scheduler.stop, settings.grace_s)
        self.scheduling = asyncio.create_task(scheduler.run())
        parts.push_async_callback(_cancel, self.scheduling)
        self.broker = Broker(
            settings=settings,
            clock=self._clock,
            database=database,
            courier=courier,
            scheduler=scheduler,
            firewall=firewall,
        )
        runner = _runner(self.broker)
        parts.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        self.url = _url(listener)


def _runner(broker: Broker) -> web.AppRunner:
    return web.AppRunner(
        make_app(broker),
        access_log=None,
        # Bodies are passed on as they came, so compressed ones are not unpacked on the way in.
        auto_decompress=False,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        shutdown_timeout=1.0,
    )


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


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
