import json
import sqlite3
from pathlib import Path

import pytest

from qstash_server.clock import ManualClock
from qstash_server.state.schema import MIGRATIONS
from tests.qstash_server.running import LoopThread, Running, Sink, settings


@pytest.fixture
def version_1(state: Path, clock: ManualClock, sink: Sink) -> Path:
    """A file as the first version wrote it: one message waits, one has failed, and a schedule."""
    now_ms = clock.now_ms()
    connection = sqlite3.connect(state)
    connection.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
    envelope = {
        "url": sink.url + "/x",
        "method": "POST",
        "headers": {"X-A": ["1"]},
        "retries": 3,
        "retryDelay": None,
        "timeoutS": None,
        "callback": None,
        "failureCallback": None,
        "labels": ["l"],
        "redact": [],
        "callerIp": "127.0.0.1",
    }
    times = {"created_ms": now_ms, "not_before_ms": now_ms, "due_ms": now_ms, "retried": 1}
    common = {
        "url": envelope["url"],
        "labels": '["l"]',
        "caller_ip": "127.0.0.1",
        "envelope": json.dumps(envelope),
        "body": b"old",
    }
    insert(connection, "messages", {"seq": 1, "id": "msg_waits", **common, **times})
    failed = {"state": "failed", "settled_ms": now_ms, "dlq_id": f"{now_ms}-2"}
    answer = {"response_status": 404, "response": '{"headers": {}, "body": "", "error": null}'}
    row = {"seq": 2, "id": "msg_failed", **common, **times, **failed, **answer}
    insert(connection, "messages", row)
    insert(connection, "events", {"message_seq": 1, "time_ms": now_ms, "state": "CREATED"})
    schedule = {"id": "s", "cron": "* * * * *", "delay_s": 0, "envelope": json.dumps(envelope)}
    schedule |= {"body": b"tick", "created_ms": now_ms, "paused": 0, "last_messages": "[]"}
    insert(connection, "schedules", schedule | {"next_ms": now_ms + 60_000})
    connection.commit()
    connection.close()
    return state


def insert(connection: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    marks = ", ".join("?" * len(row))
    connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})",  # noqa: S608
        list(row.values()),
    )


def test_file_of_the_first_version_goes_on_where_it_was(
    loop: LoopThread, version_1: Path, clock: ManualClock, sink: Sink
) -> None:
    for _ in range(2):  # The second start finds the file migrated.
        with Running(loop, settings(version_1), clock) as server:
            server.settle()
            [entry] = server.sdk.dlq.list().messages
            assert (entry.message_id, entry.body, entry.queue) == ("msg_failed", "old", None)
            assert server.states("msg_waits") == ["CREATED", "ACTIVE", "DELIVERED"]
    [delivery] = sink.deliveries
    assert (delivery.headers["Upstash-Message-Id"], delivery.body) == ("msg_waits", b"old")
    assert (delivery.headers["Upstash-Retried"], delivery.headers["X-A"]) == ("1", "1")


def test_migrated_file_has_room_for_queues_and_keys(
    loop: LoopThread, version_1: Path, clock: ManualClock, sink: Sink
) -> None:
    with Running(loop, settings(version_1), clock) as server:
        server.enqueue("q", sink.url + "/queued")
        server.publish(sink.url + "/flow", flow_control={"key": "k", "rate": 1})
        server.sdk.url_group.upsert_endpoints("g", [{"url": sink.url}])
        server.advance(60)
        assert server.sdk.queue.get("q").parallelism == 1
        assert server.sdk.flow_control.get("k").rate_max == 1
    assert {"/queued", "/flow"} < {d.target for d in sink.deliveries}
    assert [d.body for d in sink.to("/x")] == [b"old", b"tick"]
    connection = sqlite3.connect(version_1)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()
