"""A sync of 2,000 uptime sites that answer after 100 ms, against the ideal and two simpler loops.

`python -m bench.sync`. The ideal is sites x latency / concurrency. The bare loop sends the same
requests with httpx2 and stores nothing; the batches wait for the slowest of ten before the next
ten, as naive schedulers do.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from bench.services import own_services

SITES = 2000
FEW_SITES = 200
LATENCY_S = 0.1
CONCURRENCY = 100
BATCH = 10
ROUNDS = 5
IDEAL_S = SITES * LATENCY_S / CONCURRENCY


def main() -> None:
    with (
        slow_server() as url,
        own_services(ALLOWED_PRIVATE_NETWORKS="127.0.0.0/8"),
    ):
        queries = {number: count_queries(url, number) for number in (FEW_SITES, SITES)}
        loops: dict[str, Callable[[], float]] = {
            "sync": lambda: run_sync(url, SITES),
            "bare httpx2 loop": lambda: asyncio.run(bare_loop(url)),
        }
        for loop in loops.values():
            loop()
        times_s: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(ROUNDS):
            for name, loop in loops.items():
                times_s[name].append(loop())
        # Ten at a time cannot take less than a tenth of the time of a hundred; once is enough to
        # see it.
        times_s["batches of ten"] = [asyncio.run(batches(url))]
    report(times_s, queries)


@contextmanager
def slow_server() -> Iterator[str]:
    """The sites, in a process of their own."""
    script = Path(__file__).parent / "slow_server.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(round(LATENCY_S * 1000))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdout is None or process.stdin is None:
        raise RuntimeError("The server has no pipes.")
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/"
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def make_sites(url: str, number: int) -> None:
    from sites.models import MonitoredSite

    MonitoredSite.objects.all().delete()
    MonitoredSite.objects.bulk_create(
        MonitoredSite(name=f"Site {n}", platform="uptime", options={"url": f"{url}{n}"})
        for n in range(number)
    )


def run_sync(url: str, number: int) -> float:
    """Sync new sites as the job does, database and all; seconds."""
    from scheduling.models import JobRun
    from scheduling.registry import registry
    from scheduling.runner import Call, run_job

    make_sites(url, number)
    began = time.perf_counter()
    outcome = run_job(registry["sync-sites"], Call(trigger=JobRun.Trigger.COMMAND))
    took_s = time.perf_counter() - began
    if (outcome.answer or {}).get("result", {}).get("success") != number:
        raise RuntimeError(f"Not all sites were synced: {outcome}")
    return took_s


def count_queries(url: str, number: int) -> int:
    """SQL statements of one sync; making the sites beforehand takes the same few for any number."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        run_sync(url, number)
    return sum("monitored_sites" in q["sql"] or "sync_logs" in q["sql"] for q in queries)


async def bare_loop(url: str) -> float:
    limits = httpx2.Limits(max_connections=CONCURRENCY, max_keepalive_connections=0)
    numbers = iter(range(SITES))

    async def work(client: httpx2.AsyncClient) -> None:
        for number in numbers:
            (await client.get(f"{url}{number}")).raise_for_status()

    began = time.perf_counter()
    async with httpx2.AsyncClient(limits=limits, trust_env=False) as client:
        await asyncio.gather(*(work(client) for _ in range(CONCURRENCY)))
    return time.perf_counter() - began


async def batches(url: str) -> float:
    began = time.perf_counter()
    async with httpx2.AsyncClient(trust_env=False) as client:
        for start in range(0, SITES, BATCH):
            await asyncio.gather(*(client.get(f"{url}{n}") for n in range(start, start + BATCH)))
    return time.perf_counter() - began


def report(times_s: dict[str, list[float]], queries: dict[int, int]) -> None:
    print(
        f"{SITES} sites of {LATENCY_S * 1000:.0f} ms, {CONCURRENCY} at once: ideal {IDEAL_S:.2f} s"
    )
    for name, taken_s in times_s.items():
        median = statistics.median(taken_s)
        spread = f"{median:.2f} s ({min(taken_s):.2f} to {max(taken_s):.2f})"
        print(f"{name:18} {spread:26} {median / IDEAL_S:5.2f} x ideal")
    pairs = zip(times_s["sync"], times_s["bare httpx2 loop"], strict=True)
    print(f"sync / bare httpx2 loop: {statistics.median(ours / bare for ours, bare in pairs):.2f}")
    sync_s = statistics.median(times_s["sync"])
    print(f"sync / batches of ten: {sync_s / times_s['batches of ten'][0]:.2f}")
    print("SQL statements: " + ", ".join(f"{n} for {sites} sites" for sites, n in queries.items()))


if __name__ == "__main__":
    main()
