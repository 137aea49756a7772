"""How many signed deliveries the webhooks take, against a view that does nothing.

.venv/bin/python bench/delivery.py [--count 1000] [--rounds 5]

Both are served by the web server of `make run`, at the same time, to eight callers that keep their
connections; a delivery is verified, claimed, run, closed and answered.
"""

import argparse
import asyncio
import json
import logging
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from bench.figures import console, print_table, spread  # noqa: E402 - found only now
from bench.servers import board, web_server  # noqa: E402

BODY = b'{"note": "made up for the benchmark"}'


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one measurement found; latencies_ms in ascending order."""

    per_second: float
    latencies_ms: Sequence[float]

    def percentile_ms(self, share: float) -> float:
        return self.latencies_ms[
            min(len(self.latencies_ms) - 1, int(len(self.latencies_ms) * share))
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="calls in each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with board("bench.settings"):
        logging.disable(logging.INFO)
        print_statements()
        with web_server(PROJECT) as port:
            measure(port, given.count, given.rounds)


def measure(port: int, count: int, rounds: int) -> None:
    outcomes: dict[str, list[Outcome]] = {"bare view": [], "delivery": []}
    asyncio.run(call_all(port, bare_requests(count // 10)))
    asyncio.run(call_all(port, deliveries(count // 10)))
    for number in range(1, rounds + 1):
        for name, requests in (
            ("bare view", bare_requests(count)),
            ("delivery", deliveries(count)),
        ):
            outcomes[name].append(asyncio.run(call_all(port, requests)))
            console.print(
                f"round {number} of {rounds}: {name}: {outcomes[name][-1].per_second:.0f}/s"
            )
    bare = statistics.median(outcome.per_second for outcome in outcomes["bare view"])
    print_table(
        f"{count} calls a round",
        ["", "calls/s", "ratio", "p50 ms", "p99 ms"],
        [
            [
                name,
                spread([outcome.per_second for outcome in found]),
                f"{statistics.median(outcome.per_second for outcome in found) / bare:.2f}",
                spread([outcome.percentile_ms(0.5) for outcome in found]),
                spread([outcome.percentile_ms(0.99) for outcome in found]),
            ]
            for name, found in outcomes.items()
        ],
    )


# --- Requests -------------------------------------------------------------------------------------


def deliveries(count: int) -> list[list[bytes]]:
    """Signed requests for each caller, every one a message of its own."""
    from bench.urls import CALLERS, webhook_path

    return [
        [delivery(webhook_path(caller)) for _ in range(count // CALLERS)]
        for caller in range(CALLERS)
    ]


def delivery(path: str) -> bytes:
    return request(path, signed_headers(path))


def signed_headers(path: str) -> dict[str, str]:
    from django.conf import settings

    from qstash_server.signing import sign

    signature = sign(
        key=settings.QSTASH_CURRENT_SIGNING_KEY,
        url=settings.APP_URL + path,
        body=BODY,
        now_ms=round(time.time() * 1000),
    )
    return {"Upstash-Message-Id": f"msg_{uuid4().hex}", "Upstash-Signature": signature}


def bare_requests(count: int) -> list[list[bytes]]:
    from bench.urls import BARE_PATH, CALLERS

    # With the same headers, so that the server has the same to read.
    return [[request(BARE_PATH, signed_headers(BARE_PATH))] * (count // CALLERS)] * CALLERS


def request(path: str, headers: dict[str, str]) -> bytes:
    from django.conf import settings

    lines = [f"POST {path} HTTP/1.1", f"Host: {settings.ALLOWED_HOSTS[0]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(BODY)}", "", ""]
    return "\r\n".join(lines).encode() + BODY


# --- Callers --------------------------------------------------------------------------------------


async def call_all(port: int, requests: Sequence[Sequence[bytes]]) -> Outcome:
    """Each caller sends its requests one after another, on one connection."""
    started = time.perf_counter()
    found = await asyncio.gather(*(call_in_turn(port, own) for own in requests))
    took_s = time.perf_counter() - started
    latencies_ms = sorted(latency_ms for own in found for latency_ms in own)
    return Outcome(per_second=len(latencies_ms) / took_s, latencies_ms=latencies_ms)


async def call_in_turn(port: int, requests: Sequence[bytes]) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies_ms = []
    for content in requests:
        started = time.perf_counter()
        writer.write(content)
        answer = await read_answer(reader)
        latencies_ms.append((time.perf_counter() - started) * 1000)
        if json.loads(answer)["message"] != "Nothing":
            raise RuntimeError(f"Not done: {answer!r}")
    writer.close()
    return latencies_ms


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"The answer was {head!r}")
    _, _, rest = head.lower().partition(b"content-length: ")
    return await reader.readexactly(int(rest.split(b"\r\n")[0]))


# --- Statements -----------------------------------------------------------------------------------


def print_statements() -> None:
    """Show what a delivery asks of the database."""
    from django.conf import settings
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from bench.urls import webhook_path

    path = webhook_path(0)
    with CaptureQueriesContext(connection) as queries:
        answer = Client(headers=signed_headers(path)).post(
            path, BODY, content_type="application/json", SERVER_NAME=settings.ALLOWED_HOSTS[0]
        )
    if answer.status_code != 200:
        raise RuntimeError(f"The answer was {answer.content!r}")
    console.print(f"{len(queries)} SQL statements for a delivery:")
    for query in queries.captured_queries:
        console.print("  " + query["sql"][:90], markup=False)


if __name__ == "__main__":
    main()
