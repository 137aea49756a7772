from pathlib import Path

import pytest

from qstash_server.clock import ManualClock
from qstash_server.state.retention import Retention
from tests.qstash_server.running import LoopThread, Reply, Running, Sink, settings

DAY_S = 86_400


def rows(server: Running, table: str) -> int:
    database = server.server.broker.database

    async def count() -> int:
        return await database.read(
            lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        )

    return server.loop.run(count())


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


def test_file_does_not_grow_over_a_simulated_year(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    retention = Retention(log_s=DAY_S, dlq_s=DAY_S)
    with Running(loop, settings(state, retention=retention), clock) as server:
        server.sdk.schedule.create(destination=sink.url + "/x", cron="@daily", body="x" * 5000)
        sizes = []
        for _ in range(365):
            server.advance(DAY_S)
            sizes.append(rows(server, "messages"))
        assert len(sink.deliveries) == 365
        assert max(sizes) <= 2
        assert state.stat().st_size < 1_000_000
