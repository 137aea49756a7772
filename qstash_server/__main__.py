"""The command line: ``python -m qstash_server --port 8080 --state PATH``."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from qstash_server.errors import ApiError, StartError
from qstash_server.parsing.durations import parse_duration_s
from qstash_server.server import Server
from qstash_server.settings import Settings, credentials_from, port_from
from qstash_server.state.retention import Retention


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 stopped, 1 could not start or failed."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        return asyncio.run(_serve(_settings(arguments)))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _settings(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(
        prog="python -m qstash_server", description="A QStash-compatible server on one machine."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port",
        type=int,
        default=port_from(os.environ),
        help="0 takes a free one; the default is $QSTASH_DEV_PORT or 8080",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("qstash-state.sqlite3"),
        help="the file that holds everything (%(default)s)",
    )
    parser.add_argument(
        "--log-retention", type=_duration, default="3d", metavar="TIME", help="3d, 12h, … (3d)"
    )
    parser.add_argument(
        "--dlq-retention", type=_duration, default="7d", metavar="TIME", help="30d, … (7d)"
    )
    parser.add_argument(
        "--destination",
        action="append",
        default=[],
        metavar="HOST",
        help="call this host alone, as example.com, *.example.com or 127.0.0.1:8000; may be repeated",
    )
    options = parser.parse_args(arguments)
    token, signing_keys = credentials_from(os.environ)
    return Settings(
        host=options.host,
        port=options.port,
        state=options.state,
        token=token,
        signing_keys=signing_keys,
        destinations=tuple(options.destination),
        retention=Retention(log_s=options.log_retention, dlq_s=options.dlq_retention),
    )


def _duration(text: str) -> int:
    try:
        return parse_duration_s(text, what="duration")
    except ApiError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


async def _serve(settings: Settings) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopped.set)
    async with Server(settings) as server:
        keys = server.signing_keys
        # A parent process reads these lines; they come once requests are answered.
        sys.stdout.write(
            f"QSTASH_URL={server.url}\n"
            f"QSTASH_TOKEN={settings.token}\n"
            f"QSTASH_CURRENT_SIGNING_KEY={keys.current}\n"
            f"QSTASH_NEXT_SIGNING_KEY={keys.next}\n"
        )
        sys.stdout.flush()
        server.scheduling.add_done_callback(lambda _: stopped.set())
        await stopped.wait()
        if server.scheduling.done():
            logging.getLogger(__name__).error(
                "the scheduler has died", exc_info=server.scheduling.exception()
            )
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
