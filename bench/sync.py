"""How long a sync takes, against what is possible and against what is usual.

.venv/bin/python bench/sync.py [--sites 2000] [--rounds 5]
.venv/bin/python bench/sync.py --fan-out [--sites 20000]

All sites lie on one loopback server that answers each request after 100 ms. With --fan-out they are
synced over two app processes and the QStash server, and one of the two is killed half-way.
"""

import argparse
import asyncio
import logging
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx2

from bench.fan_out import measure_fan_out
from bench.figures import interleaved, print_table, spread
from bench.servers import board, slow_server

LATENCY_MS = 100
CONCURRENCY = 100
BATCH = 10
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"
SYNC, SOCKETS = "SoloBoard's sync", "bare asyncio sockets"
HTTPX2, HTTPX2_FRESH = "httpx2, kept connections", "httpx2, new connections"
BATCHES = f"httpx2, batches of {BATCH}"

Fetch = Callable[[], Awaitable[object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, help="2000 without; 20000 with --fan-out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fan-out", action="store_true", help="over two processes, one killed")
    given = parser.parse_args()
    with board(redis=given.fan_out), slow_server(LATENCY_MS) as url:
        logging.disable(logging.INFO)
        if given.fan_out:
            sites = given.sites or 20_000
            add_sites(url, sites)
            measure_fan_out(sites)
        else:
            measure(url, given.sites or 2000, given.rounds)


def measure(url: str, sites: int, rounds: int) -> None:
    add_sites(url, sites)
    sync_duration_s(sites)  # The first of a process pays for imports and for its connections.
    measurements = {
        SYNC: lambda: sync_duration_s(sites),
        SOCKETS: lambda: duration_s(sockets(url, sites)),
        HTTPX2: lambda: duration_s(httpx2_loop(url, sites, kept=CONCURRENCY)),
        HTTPX2_FRESH: lambda: duration_s(httpx2_loop(url, sites, kept=0)),
        BATCHES: lambda: duration_s(httpx2_batches(url, sites)),
    }
    results = interleaved(measurements, rounds)
    ideal_s = sites * LATENCY_MS / 1000 / CONCURRENCY
    of_sync = statistics.median(results[SYNC])
    print_table(
        f"{sites} sites of {LATENCY_MS} ms, {CONCURRENCY} at a time: ideal {ideal_s:.2f} s",
        ["", "seconds", "over the ideal", "the sync takes"],
        [
            [name, spread(values), f"{statistics.median(values) / ideal_s:.2f} x",
             f"{of_sync / statistics.median(values):.2f} x"]
            for name, values in results.items()
        ],
    )  # fmt: skip
    print_table(
        "SQL statements of a sync", ["sites", "chunks", "statements"],
        [query_count(url, 200), query_count(url, sites)],
    )  # fmt: skip


# --- The sync -------------------------------------------------------------------------------------


def add_sites(url: str, count: int) -> None:
    from sites.models import MonitoredSite

    MonitoredSite.objects.all().delete()
    MonitoredSite.objects.bulk_create(
        MonitoredSite(name=f"site {number}", platform="uptime", options={"url": url})
        for number in range(count)
    )


def sync_duration_s(count: int) -> float:
    """Run the job as a delivery does, its record included."""
    from scheduling.models import JobRun
    from scheduling.registry import registry
    from scheduling.runner import Call, run_job
    from sites.jobs import SYNC_SITES

    started = time.perf_counter()
    call = Call(trigger=JobRun.Trigger.COMMAND, in_process=True)
    outcome = run_job(registry[SYNC_SITES], call)
    took_s = time.perf_counter() - started
    if outcome.answer is None or outcome.answer["result"]["success"] != count:
        raise RuntimeError(f"Not all sites were synced: {outcome}")
    return took_s


def query_count(url: str, count: int) -> list[str]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from sites.sync import WRITTEN_AT_ONCE

    add_sites(url, count)
    with CaptureQueriesContext(connection) as queries:
        sync_duration_s(count)
    return [str(count), str(-(-count // WRITTEN_AT_ONCE)), str(len(queries))]


# --- What it is measured against ------------------------------------------------------------------


def duration_s(work: Coroutine[Any, Any, None]) -> float:
    started = time.perf_counter()
    asyncio.run(work)
    return time.perf_counter() - started


async def all_at(concurrency: int, count: int, fetch: Fetch) -> None:
    """Whoever of the workers is free makes the next fetch."""
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            await fetch()

    await asyncio.gather(*(work() for _ in range(concurrency)))


async def sockets(url: str, count: int) -> None:
    """What this machine can do at all: canned bytes, a new connection for each, nothing read of
    the answer.
    """
    port = httpx2.URL(url).port

    async def fetch() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await reader.read(1024)
        writer.transport.abort()

    await all_at(CONCURRENCY, count, fetch)


async def httpx2_loop(url: str, count: int, *, kept: int) -> None:
    async with client(kept=kept) as http:
        await all_at(CONCURRENCY, count, lambda: http.get(url))


async def httpx2_batches(url: str, count: int) -> None:
    """What simple schedulers do: the next batch waits for the slowest of this one."""
    async with client(kept=BATCH) as http:
        for _ in range(count // BATCH):
            await asyncio.gather(*(http.get(url) for _ in range(BATCH)))


def client(*, kept: int) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=CONCURRENCY, max_keepalive_connections=kept)
    return httpx2.AsyncClient(limits=limits, trust_env=False, timeout=30)


if __name__ == "__main__":
    main()
