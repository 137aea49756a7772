"""Signed deliveries per second through the whole webhook, against a bare view on the same server.

`python -m bench.delivery`. Every delivery is signed, claimed, run and recorded in PostgreSQL; the
bare view parses and answers. Both are called in turns over the same number of kept connections.
"""

import asyncio
import http.client
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiohttp

from bench.services import own_services
from qstash_server.signing import sign

ROUNDS = 5
CALLS = 800
CONNECTIONS = 8
BODY = b"{}"

Call = tuple[str, dict[str, str]]


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with own_services(APP_URL=url), server(listener, url):
            results = asyncio.run(measure(url))
    report(results)


@contextmanager
def server(listener: socket.socket, url: str) -> Iterator[None]:
    """Gunicorn as `make run` starts it."""
    options = ["--workers=2", "--threads=4", "--worker-class=gthread", "--no-control-socket"]
    command = [sys.executable, "-m", "gunicorn", "bench.delivery_application", *options]
    process = subprocess.Popen(
        [*command, "--log-level=warning", f"--bind=fd://{listener.fileno()}"],
        pass_fds=[listener.fileno()],
        stderr=subprocess.DEVNULL,  # A line for each run; the same lines go nowhere in both halves.
    )
    try:
        wait_until_up(url)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_up(url: str) -> None:
    for _ in range(300):
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise RuntimeError("The server did not come up.")


async def measure(url: str) -> dict[str, list[list[float]]]:
    """Latencies in seconds by kind and round; the first round of each kind warms up and is left
    out.
    """
    kinds: dict[str, Callable[[int], Call]] = {"webhook": signed(url), "bare view": bare(url)}
    results: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    async with aiohttp.ClientSession() as session:
        for number in range(ROUNDS + 1):
            for kind, call in kinds.items():
                latencies_s = await one_round(session, call)
                if number:
                    results[kind].append(latencies_s)
    return results


async def one_round(session: aiohttp.ClientSession, call: Callable[[int], Call]) -> list[float]:
    """Return the latency of each call, and as the last item the wall time of the round."""
    latencies_s: list[float] = []
    numbers = iter(range(CALLS))

    async def connection(lane: int) -> None:
        for _ in numbers:
            url, headers = call(lane)
            began = time.perf_counter()
            async with session.post(url, data=BODY, headers=headers) as answer:
                body = await answer.json()
            if answer.status != http.HTTPStatus.OK or body.get("skipped"):
                raise RuntimeError(f"{url} answered {answer.status}: {body}")
            latencies_s.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(connection(lane) for lane in range(CONNECTIONS)))
    return [*latencies_s, time.perf_counter() - began]


def signed(url: str) -> Callable[[int], Call]:
    """Deliveries as QStash makes them; signing is the sender's work, and cheap beside the call."""
    numbers = itertools.count()
    key = os.environ["QSTASH_CURRENT_SIGNING_KEY"]

    def call(lane: int) -> Call:
        address = f"{url}/api/bench/{lane}"
        signature = sign(key=key, url=address, body=BODY, now_ms=int(time.time() * 1000))
        message_id = f"msg_{next(numbers)}"
        return address, {
            "Content-Type": "application/json",
            "Upstash-Signature": signature,
            "Upstash-Message-Id": message_id,
        }

    return call


def bare(url: str) -> Callable[[int], Call]:
    return lambda lane: (f"{url}/bare", {"Content-Type": "application/json"})


def report(results: dict[str, list[list[float]]]) -> None:
    print(
        f"{CONNECTIONS} connections, {ROUNDS} rounds in turns of {CALLS} calls; median (min to max)"
    )
    for kind, rounds in results.items():
        rates = [CALLS / calls[-1] for calls in rounds]
        latencies_ms = sorted(1000 * s for calls in rounds for s in calls[:-1])
        p50, p99 = (latencies_ms[int(len(latencies_ms) * share)] for share in (0.5, 0.99))
        spread = f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f}) per second"
        print(f"{kind:10} {spread:32} p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    ratios = [
        bare_calls[-1] / webhook_calls[-1]
        for webhook_calls, bare_calls in zip(results["webhook"], results["bare view"], strict=True)
    ]
    summary = {"webhook / bare view": round(statistics.median(ratios), 3)}
    print(f"webhook / bare view: {json.dumps(summary['webhook / bare view'])} of the rate")


if __name__ == "__main__":
    main()
