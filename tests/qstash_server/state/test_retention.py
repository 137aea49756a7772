from pathlib import Path

import pytest
from qstash.message import BatchRequest

from qstash_server.clock import ManualClock
from qstash_server.state.retention import Retention
from tests.qstash_server.running import LoopThread, Reply, Running, Sink, settings

DAY_S = 86_400
MONTH_DAYS = 30
DUPLICATES = 2


def rows(server: Running, table: str) -> int:
    database = server.server.broker.database

    async def count() -> int:
        return await database.read(
            lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        )

    return server.loop.run(count())


def size(state: Path) -> int:
    """Return the bytes of the file and of those beside it."""
    return sum(path.stat().st_size for path in state.parent.glob(state.name + "*"))


def test_settled_messages_and_events_leave_after_their_time_and_waiting_ones_stay(
    server: Running, sink: Sink
) -> None:
    server.sdk.message.publish(url=sink.url + "/x", body="x", deduplication_id="d")
    waiting = server.publish(sink.url + "/y", body="y", delay="30d")
    server.settle()
    server.advance(2.9 * DAY_S)
    assert rows(server, "messages") == 2
    server.advance(0.2 * DAY_S)
    assert rows(server, "messages") == 1
    assert rows(server, "events") == 0
    assert rows(server, "deduplication") == 0
    assert server.sdk.message.get(waiting).body == "y"


@pytest.mark.parametrize(("log_s", "dlq_s"), [(DAY_S, 5 * DAY_S), (5 * DAY_S, DAY_S)])
def test_dlq_has_a_time_of_its_own(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink, log_s: int, dlq_s: int
) -> None:
    retention = Retention(log_s=log_s, dlq_s=dlq_s)
    with Running(loop, settings(state, retention=retention), clock) as server:
        server.sdk.message.publish(url=sink.reply("/b", Reply(status=400)), body="x", retries=0)
        server.settle()
        server.advance(dlq_s - 60)
        assert len(server.sdk.dlq.list().messages) == 1
        server.advance(120)
        assert server.sdk.dlq.list().messages == []
        assert rows(server, "messages") == (1 if log_s > dlq_s else 0)


def test_number_of_settled_messages_is_bounded(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    retention = Retention(settled=10)
    with Running(loop, settings(state, retention=retention), clock) as server:
        for _ in range(40):
            server.sdk.message.publish(url=sink.url + "/x", body="x")
            server.settle()
            clock.advance(1)
        server.advance(60)
        assert rows(server, "messages") == 10
        assert rows(server, "events") == 30


def test_file_shrinks_when_many_messages_leave(server: Running, state: Path, sink: Sink) -> None:
    items = [BatchRequest(url=sink.url + "/x", body="x" * 60_000)] * 100
    for _ in range(6):
        server.sdk.message.batch(items)
    server.settle()
    before = size(state)
    server.advance(4 * DAY_S)
    assert rows(server, "messages") == 0
    # The file itself follows with the next checkpoint, after some megabytes have been written.
    server.publish(sink.url + "/x", body="x" * 5_000_000, delay="1d")
    assert before > 36_000_000
    assert state.stat().st_size < 15_000_000


def test_state_levels_off_over_a_simulated_year(server: Running, state: Path, sink: Sink) -> None:
    """Schedules, messages with bodies, failures and deduplication, every day of twelve months."""
    for number in range(2):
        server.sdk.schedule.create(
            destination=sink.url + "/scheduled", cron=f"{number} * * * *", body="x" * 1000
        )
    items = a_day_of_messages(sink.url + "/ok", sink.reply("/bad", Reply(status=500)))
    sizes: list[int] = []
    counts: list[int] = []
    for _ in range(12 * MONTH_DAYS):
        server.sdk.message.batch(items)
        server.settle()
        server.advance(DAY_S)
        sizes.append(size(state))
        counts.append(sum(rows(server, name) for name in ("messages", "events", "deduplication")))
    second, last = slice(MONTH_DAYS, 2 * MONTH_DAYS), slice(-MONTH_DAYS, None)
    assert len(sink.deliveries) >= 12 * MONTH_DAYS * (len(items) - DUPLICATES)
    assert max(sizes[last]) <= 1.1 * max(sizes[second])
    assert max(counts[last]) <= max(counts[second])


def a_day_of_messages(good: str, bad: str) -> list[BatchRequest]:
    """Six that arrive, two for the DLQ, and some that are the same to deduplication."""
    return [
        *[BatchRequest(url=good, body="x" * 20_000)] * 6,
        *[BatchRequest(url=bad, body="x" * 20_000, retries=0)] * 2,
        *[BatchRequest(url=good, body="x", deduplication_id="d")] * (DUPLICATES + 1),
    ]
