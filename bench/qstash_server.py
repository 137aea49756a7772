"""How much the QStash server accepts and delivers, how promptly, and what waiting costs it.

.venv/bin/python bench/qstash_server.py [--count 4000] [--rounds 3]

The server and the destination are processes of their own; this one sends over bare sockets.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx2

from bench.bare_commits import BareCommits
from bench.figures import interleaved, print_table, spread
from bench.load import ask, send_all, send_paced
from bench.processes import QStashProcess, qstash, sink

BATCH = 100
#: So many times as many messages are accepted in batches, which would else be over too soon.
IN_BATCHES = 4
#: As many as the server delivers at a time.
PARALLELISM = 100
SHARES = (0.1, 0.5, 0.9)
LATENCY_S = 5
DELAY_S = 1
WAITING, SCHEDULES = 100_000, 10_000
IDLE_S = 10
#: For what is accepted and shall not be delivered meanwhile.
LATER = {"Upstash-Delay": "30d"}

SINGLE, BATCHED = "accepted one by one", f"accepted in batches of {BATCH}"
COMMITS, GROUPS = "bare commits of one", f"bare commits of {BATCH}"
DELIVERED, THROUGH, LOOP = "delivered", "accepted and delivered", "httpx2 loop"
BESIDE = {SINGLE: COMMITS, BATCHED: GROUPS, DELIVERED: LOOP, THROUGH: LOOP}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is measured: a server, a destination, and `count` messages from one to the other."""

    server: QStashProcess
    sink_port: int
    count: int

    def publish(self, options: Mapping[str, str], body: bytes = b"x") -> bytes:
        return self._request(f"/v2/publish/{self.sink_url}", body, options)

    def batch(self, options: Mapping[str, str]) -> bytes:
        item = {"destination": self.sink_url, "body": "x", "headers": dict(options)}
        return self._request("/v2/batch", json.dumps([item] * BATCH).encode(), {})

    def schedule(self) -> bytes:
        # It fires next on the first of January.
        return self._request(f"/v2/schedules/{self.sink_url}", b"x", {"Upstash-Cron": "0 0 1 1 *"})

    @property
    def sink_url(self) -> str:
        return f"http://127.0.0.1:{self.sink_port}/"

    async def arrivals(self, count: int) -> dict[str, list[int]]:
        """Return what the destination noted, once so many have arrived."""
        found: dict[str, list[int]] = json.loads(await ask(self.sink_port, f"/arrivals/{count}"))
        return found

    def _request(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"Authorization: Bearer {self.server.token}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=4000, help="messages in each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qstash-bench-")))
        sink_port = stack.enter_context(sink())
        with qstash(directory / "state.sqlite3") as server:
            count = given.count // BATCH * BATCH
            scene = Scene(server=server, sink_port=sink_port, count=count)
            results = measure_rates(scene, directory, given.rounds)
            measure_latency(scene, statistics.median(results[THROUGH]))
        measure_waiting(directory, sink_port)


# --- Rates ----------------------------------------------------------------------------------------


def measure_rates(scene: Scene, directory: Path, rounds: int) -> dict[str, list[float]]:
    asyncio.run(send_all(scene.server.port, [scene.publish(LATER)]))
    floor = BareCommits(directory, accepted=directory / "state.sqlite3")
    measurements: dict[str, Callable[[], float]] = {
        SINGLE: lambda: asyncio.run(accept_singly(scene)),
        COMMITS: lambda: floor.per_second(scene.count, 1),
        BATCHED: lambda: asyncio.run(accept_batches(scene)),
        GROUPS: lambda: floor.per_second(scene.count * IN_BATCHES, BATCH),
        DELIVERED: lambda: asyncio.run(deliver(scene)),
        LOOP: lambda: asyncio.run(httpx2_loop(scene)),
        THROUGH: lambda: asyncio.run(accept_and_deliver(scene)),
    }
    for measure in measurements.values():  # The first of each pays for imports and caches.
        measure()
    results = interleaved(measurements, rounds)
    middle = {name: statistics.median(values) for name, values in results.items()}
    print_table(
        f"{scene.count} messages a round, {scene.count * IN_BATCHES} in batches",
        ["", "per second", "ratio"],
        [
            [name, spread(values),
             f"{middle[name] / middle[BESIDE[name]]:.2f} of {BESIDE[name]}" if name in BESIDE else ""]
            for name, values in results.items()
        ],
    )  # fmt: skip
    return results


async def accept_singly(scene: Scene) -> float:
    requests = repeat(scene.publish(LATER), scene.count)
    return scene.count / await send_all(scene.server.port, requests)


async def accept_batches(scene: Scene) -> float:
    count = scene.count * IN_BATCHES
    requests = repeat(scene.batch(LATER), count // BATCH)
    return count / await send_all(scene.server.port, requests)


async def deliver(scene: Scene) -> float:
    """Have everything accepted first, all due at one second; then watch it arrive."""
    due_s = int(time.time()) + 3
    request = scene.batch({"Upstash-Not-Before": str(due_s)})
    await send_all(scene.server.port, repeat(request, scene.count // BATCH))
    if time.time() >= due_s:
        raise RuntimeError("It was due before all was accepted: take a smaller --count.")
    return per_second((await scene.arrivals(scene.count))["timesNs"])


async def accept_and_deliver(scene: Scene) -> float:
    """Publish one by one what is due at once, and count until the last has arrived."""
    started_ns = time.time_ns()
    await send_all(scene.server.port, repeat(scene.publish({}), scene.count))
    return per_second([started_ns, *(await scene.arrivals(scene.count))["timesNs"]])


async def httpx2_loop(scene: Scene) -> float:
    """What a client in a loop delivers, as many at a time as the server."""
    limits = httpx2.Limits(max_connections=PARALLELISM, max_keepalive_connections=PARALLELISM)
    numbers = iter(range(scene.count))
    async with httpx2.AsyncClient(limits=limits, trust_env=False, timeout=30) as client:

        async def work() -> None:
            for _ in numbers:
                await client.post(scene.sink_url, content=b"x")

        await asyncio.gather(*(work() for _ in range(PARALLELISM)))
    return per_second((await scene.arrivals(scene.count))["timesNs"])


def per_second(times_ns: Sequence[int]) -> float:
    return (len(times_ns) - 1) / (max(times_ns) - min(times_ns)) * 1e9


# --- Latency --------------------------------------------------------------------------------------


def measure_latency(scene: Scene, most_per_second: float) -> None:
    """Print how long it takes from sending a request until its message arrives."""
    rows = []
    for share in SHARES:
        rate = share * most_per_second
        delays_ms = asyncio.run(latencies_ms(scene, rate, round(rate * LATENCY_S)))
        rows.append(latency_row(f"at {share:.0%} of {most_per_second:.0f} a second", delays_ms))
    late_ms = asyncio.run(latencies_ms(scene, 20, 300, delay_s=DELAY_S))
    rows.append(latency_row(f"delayed by {DELAY_S} s, 20 a second: later than that", late_ms))
    print_table("From sending to arrival", ["", "p50 ms", "p99 ms", "most ms"], rows)


async def latencies_ms(scene: Scene, rate: float, count: int, delay_s: int = 0) -> list[float]:
    options = {"Upstash-Delay": f"{delay_s}s"} if delay_s else {}

    def request() -> bytes:
        meant_ns = time.time_ns() + delay_s * 1_000_000_000
        return scene.publish(options, str(meant_ns).encode())

    _, found = await asyncio.gather(
        send_paced(scene.server.port, request, count=count, per_second=rate),
        scene.arrivals(count),
    )
    return sorted(delay_ns / 1e6 for delay_ns in found["delaysNs"])


def latency_row(name: str, delays_ms: Sequence[float]) -> list[str]:
    found = [delays_ms[int(len(delays_ms) * share)] for share in (0.5, 0.99)]
    return [name, *(f"{delay_ms:.1f}" for delay_ms in (*found, delays_ms[-1]))]


# --- Waiting --------------------------------------------------------------------------------------


def measure_waiting(directory: Path, sink_port: int) -> None:
    """Print what messages and schedules cost that are not due, beside a server that has none."""
    full = directory / "full.sqlite3"
    with qstash(full) as server:
        asyncio.run(fill(Scene(server=server, sink_port=sink_port, count=WAITING)))
    with qstash(directory / "empty.sqlite3") as empty, qstash(full) as server:
        servers = {"nothing": empty, f"{WAITING} messages, {SCHEDULES} schedules": server}
        memory_mb = [server.memory_mb for server in servers.values()]
        cpu_ms = idle_cpu_ms(list(servers.values()))
        print_table(
            "What waits, after a restart",
            ["", "start s", "memory MB", f"CPU ms in {IDLE_S} idle s"],
            [
                [name, f"{server.start_s:.2f}", f"{mb:.0f}", f"{ms:.0f}"]
                for (name, server), mb, ms in zip(servers.items(), memory_mb, cpu_ms, strict=True)
            ],
        )


async def fill(scene: Scene) -> None:
    await send_all(scene.server.port, repeat(scene.batch(LATER), scene.count // BATCH))
    await send_all(scene.server.port, repeat(scene.schedule(), SCHEDULES))


def idle_cpu_ms(servers: Sequence[QStashProcess]) -> list[float]:
    time.sleep(1)  # Until the first sweep of each is over.
    before_s = [server.cpu_s for server in servers]
    time.sleep(IDLE_S)
    return [
        (server.cpu_s - used_s) * 1000 for server, used_s in zip(servers, before_s, strict=True)
    ]


if __name__ == "__main__":
    main()
