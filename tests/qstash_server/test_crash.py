"""`kill -9` at random instants, with everything under way that a server does.

`make test` kills it a few times; `CRASHES=300 .venv/bin/python -m pytest
tests/qstash_server/test_crash.py` takes minutes. `CRASH_SEED` repeats the choices of a run, though
not the instants at which the machine gets to them.
"""

import os
import random
import sqlite3
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from tests.qstash_server.crashes import Destination, Publisher, Victim
from tests.qstash_server.fast_server import MINUTE_MS, SPEED
from tests.qstash_server.running import DEADLINE_S, Delivery, LoopThread

CRASHES = int(os.environ.get("CRASHES", "6"))
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
#: How long the last of the servers lives undisturbed, by its own clock.
CALM_MINUTES = 3

#: The ids of the messages that a schedule has made, with the times at which it did, by its own id.
Firings = dict[str, dict[str, int]]


def test_kills_at_random_instants_lose_no_message_and_no_firing(
    loop: LoopThread, state: Path
) -> None:
    print(f"CRASH_SEED={SEED}")  # Shown when the test fails.
    luck = random.Random(SEED)  # noqa: S311 - nothing is secret here
    with Destination(loop, luck) as destination, Victim(state) as victim:
        with Publisher(victim, destination.url, random.Random(SEED)) as publisher:  # noqa: S311
            for _ in range(CRASHES):
                victim.live_and_die(luck)
            victim.start()
            time.sleep(CALM_MINUTES * 60 / SPEED)
        arrived = set(map(firing_of, destination.to("/scheduled")))
        asked_ms = victim.clock.now_ms()
        firings = logged_firings(victim)
        check_schedules(victim, publisher.schedules, firings, asked_ms)
        made = {(schedule_id, i) for schedule_id, own in firings.items() for i in own}
        assert arrived <= made
        accepted = publisher.accepted | {message_id for _, message_id in made}
        check_messages(victim, accepted, destination)
        check_order([int(delivery.body) for delivery in destination.to("/queued")])
    check_file(state)


def check_messages(victim: Victim, accepted: set[str], destination: Destination) -> None:
    """Every accepted message is delivered, or stands in the DLQ, once all have had their time."""
    deadline = time.monotonic() + DEADLINE_S
    missing = accepted
    while missing and time.monotonic() < deadline:
        missing = accepted - destination.delivered
        missing -= {entry["messageId"] for entry in victim.listed("/v2/dlq", "messages")}
        time.sleep(0.1)
    assert len(accepted) > CRASHES
    assert missing == set()


def check_order(numbers: list[int]) -> None:
    """A queue's messages come one after the other, though each may come several times."""
    assert len(set(numbers)) > 1
    assert numbers == sorted(numbers)


def check_schedules(victim: Victim, known: set[str], firings: Firings, now_ms: int) -> None:
    """All are still there; none fired twice for one minute, or missed one while it could fire."""
    assert known
    assert known <= {schedule["scheduleId"] for schedule in victim.get("/v2/schedules")}
    for schedule_id in known:
        times_ms = list(firings[schedule_id].values())
        minutes = [time_ms // MINUTE_MS for time_ms in times_ms]
        assert len(set(minutes)) == len(minutes), (schedule_id, times_ms)
        assert minutes[-1] >= now_ms // MINUTE_MS - 1, (schedule_id, times_ms)
        # One firing makes up for the minutes that passed while the server was dead.
        for before, after in gaps(minutes):
            killed = [killed_ms // MINUTE_MS for killed_ms in victim.killed_ms]
            assert any(before <= minute <= after for minute in killed), (schedule_id, times_ms)


def gaps(minutes: list[int]) -> list[tuple[int, int]]:
    """Return the neighbours that have others between them."""
    return [(before, after) for before, after in pairwise(minutes) if after > before + 1]


def logged_firings(victim: Victim) -> Firings:
    """Return the messages that the schedules have made, the earliest first."""
    firings: Firings = defaultdict(dict)
    for event in victim.listed("/v2/events?state=CREATED&order=earliestFirst", "events"):
        if "scheduleId" in event:
            firings[event["scheduleId"]][event["messageId"]] = event["time"]
    return firings


def firing_of(delivery: Delivery) -> tuple[str, str]:
    return delivery.headers["Upstash-Schedule-Id"], delivery.headers["Upstash-Message-Id"]


def check_file(state: Path) -> None:
    connection = sqlite3.connect(state)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    finally:
        connection.close()
