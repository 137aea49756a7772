"""How many actions come in and through, against what REST framework, Redis and PostgreSQL can do.

.venv/bin/python bench/actions.py [--requests 1000] [--actions 500000] [--rounds 5]

Coming in: POST /api/actions on the web server of `make run`, beside a view that does nothing and
beside pushing on the list without any server. Going through: process_user_actions, beside LPOP,
JSON and COPY into the same table, with no regard for what goes wrong.
"""

import argparse
import asyncio
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from bench.figures import interleaved, print_table, spread  # noqa: E402 - found only now
from bench.load import send_all  # noqa: E402
from bench.servers import board, web_server  # noqa: E402

#: At the same time, each with a connection that it keeps and one request under way.
CALLERS = 8
ACTIONS_IN_A_REQUEST = 1_000
#: As many as process_user_actions stores in a transaction, for the floor too.
BATCH_SIZE = 10_000
USERS, ITEMS = 20_000, 5_000
PUSHED_AT_A_TIME = 5_000
BARE, ONE, MANY = "bare view", "POST, 1 action", "POST, 1,000 actions"
PUSH_ONE, PUSH_MANY = "push, 1 action", "push, 1,000 actions"
FLOOR, PROCESSING = "LPOP + JSON + COPY", "process_user_actions"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000, help="in each measurement")
    parser.add_argument("--actions", type=int, default=500_000, help="drained in each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with board("bench.settings", redis=True):
        logging.disable(logging.INFO)
        with web_server(PROJECT) as port:
            measure_ingestion(port, given.requests, given.rounds)
        measure_processing(given.actions, given.rounds)


# --- Coming in ------------------------------------------------------------------------------------


def measure_ingestion(port: int, count: int, rounds: int) -> None:
    """Print the requests a second, and what share of them the view and Redis would have done."""
    from bench.urls import BARE_PATH

    one, many = json.dumps(action(0)).encode(), json.dumps(some(ACTIONS_IN_A_REQUEST)).encode()
    headers = {"Authorization": f"Bearer {token()}"}
    few = count // 20

    def requests_per_second(path: str, body: bytes, count: int) -> float:
        took_s = asyncio.run(
            send_all(port, [request(path, headers, body)] * count, connections=CALLERS, depth=1)
        )
        clear()
        return count / took_s

    measurements = {
        BARE: lambda: requests_per_second(BARE_PATH, one, count),
        ONE: lambda: requests_per_second("/api/actions", one, count),
        PUSH_ONE: lambda: pushes_per_second(1, count),
        MANY: lambda: requests_per_second("/api/actions", many, few),
        PUSH_MANY: lambda: pushes_per_second(ACTIONS_IN_A_REQUEST, few),
    }
    results = interleaved(measurements, rounds)
    sizes = {MANY: ACTIONS_IN_A_REQUEST, PUSH_MANY: ACTIONS_IN_A_REQUEST}
    middle = {name: statistics.median(values) for name, values in results.items()}
    pushed = {ONE: PUSH_ONE, MANY: PUSH_MANY}
    print_table(
        f"{count} requests with one action, {few} with {ACTIONS_IN_A_REQUEST:,}",
        ["", "a second", "actions/s", "of the bare view", "of the push"],
        [
            [name, spread(values), f"{middle[name] * sizes.get(name, 1):,.0f}",
             f"{middle[name] / middle[BARE]:.2f}",
             f"{middle[name] / middle[pushed[name]]:.3f}" if name in pushed else ""]
            for name, values in results.items()
        ],
    )  # fmt: skip


def token() -> str:
    from recommendations.tokens import issue

    return issue("benchmark")[1]


def request(path: str, headers: dict[str, str], body: bytes) -> bytes:
    from django.conf import settings

    lines = [f"POST {path} HTTP/1.1", f"Host: {settings.ALLOWED_HOSTS[0]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def pushes_per_second(size: int, count: int) -> float:
    """What a producer does that pushes by itself: JSON, and one push on its own connection."""
    from recommendations import queue

    started = time.perf_counter()
    for _ in range(count):
        queue.push(some(size))
    took_s = time.perf_counter() - started
    clear()
    return count / took_s


# --- Going through --------------------------------------------------------------------------------


def measure_processing(count: int, rounds: int) -> None:
    measurements = {
        FLOOR: lambda: drained_per_second(count, floor),
        PROCESSING: lambda: drained_per_second(count, process_all),
    }
    results = interleaved(measurements, rounds)
    middle = statistics.median(results[FLOOR])
    print_table(
        f"{count:,} actions drained",
        ["", "actions/s", "of the floor"],
        [
            [name, spread(values), f"{statistics.median(values) / middle:.2f}"]
            for name, values in results.items()
        ],
    )


def drained_per_second(count: int, drain: Callable[[], None]) -> float:
    """Fill the queue, empty it into an empty table, look whether all is there."""
    from django.db import connection

    from recommendations import queue
    from recommendations.models import UserAction

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE user_actions")
        cursor.execute("CHECKPOINT")
    for start in range(0, count, PUSHED_AT_A_TIME):
        queue.push(some(min(PUSHED_AT_A_TIME, count - start), first=start))
    started = time.perf_counter()
    drain()
    took_s = time.perf_counter() - started
    if UserAction.objects.count() != count or queue.depth():
        raise RuntimeError("Not every action is in the table.")
    return count / took_s


def process_all() -> None:
    """Run the job as its schedule does, its record included, until nothing is left."""
    from recommendations.jobs import PROCESS_USER_ACTIONS
    from scheduling.models import JobRun
    from scheduling.registry import registry
    from scheduling.runner import Call, run_job

    outcome = run_job(registry[PROCESS_USER_ACTIONS], Call(trigger=JobRun.Trigger.COMMAND))
    while outcome.continuation is not None:
        outcome = run_job(registry[PROCESS_USER_ACTIONS], Call(trigger=JobRun.Trigger.COMMAND))


def floor() -> None:
    """Nothing is checked, and what is popped is lost if anything fails."""
    from django.db import connection, transaction

    from recommendations import queue
    from recommendations.processing import COLUMNS
    from recommendations.valkey import server

    redis = server()
    while entries := redis.lpop(queue.PENDING, BATCH_SIZE):
        with (
            transaction.atomic(),
            connection.cursor() as cursor,
            cursor.copy(f"COPY user_actions ({COLUMNS}) FROM STDIN") as copy,
        ):
            for text in entries:
                entry = json.loads(text)
                copy.write_row(
                    (entry["id"], entry["user_id"], entry["item_id"], entry["action"],
                     entry["occurred_at"])
                )  # fmt: skip


# --- Actions --------------------------------------------------------------------------------------


def some(count: int, *, first: int = 0) -> Sequence[dict[str, Any]]:
    from recommendations.queue import new_id

    push_id = new_id()
    return [{**action(first + number), "id": f"{push_id}-{number}"} for number in range(count)]


def action(number: int) -> dict[str, Any]:
    return {
        "user_id": f"user-{number * 7919 % USERS}",
        "item_id": f"item-{number * 104_729 % ITEMS}",
        "action": "view",
        "occurred_at": "2026-02-07T10:30:00.000000+00:00",
    }


def clear() -> None:
    from recommendations import queue
    from recommendations.valkey import server

    server().delete(queue.PENDING)


if __name__ == "__main__":
    main()
