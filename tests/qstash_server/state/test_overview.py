import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qstash_server.message import Response, new_message
from qstash_server.state import messages, overview
from qstash_server.state.database import _open
from tests.qstash_server.running import envelope

NOW_MS = 1_790_000_000_000


@pytest.fixture
def connection(state: Path) -> Any:
    connection = _open(state)
    yield connection
    connection.close()


def add(connection: sqlite3.Connection, *, due_ms: int, failed: bool = False) -> str:
    message = new_message(envelope(), now_ms=NOW_MS, due_ms=due_ms)
    messages.insert(connection, [message])
    seq = messages.waiting_seq(connection, message.id)
    if failed and seq is not None:
        response = Response(status=500, headers={}, body=b"no")
        messages.mark_failed(connection, seq, response, due_ms)
    return message.id


def ids(listing: overview.Listing) -> list[str]:
    return [row["id"] for row in listing.rows]


def test_lists_are_in_order_and_end_after_their_rows(connection: sqlite3.Connection) -> None:
    waiting = [add(connection, due_ms=NOW_MS - number) for number in range(60)]
    failed = [add(connection, due_ms=NOW_MS + number, failed=True) for number in range(60)]
    assert ids(overview.waiting(connection)) == waiting[:-51:-1]
    assert ids(overview.dead_letters(connection)) == failed[:-51:-1]
    assert overview.waiting(connection).total == overview.dead_letters(connection).total == 60
    assert [row["id"] for row in overview.events(connection)[:3]] == [failed[-1]] * 3


def test_counting_ends(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "COUNTED", 3)
    for count, total in ((3, 3), (9, 4)):
        while len(messages.waiting(connection)) < count:
            add(connection, due_ms=NOW_MS)
        assert overview.waiting(connection).total == total


@pytest.mark.parametrize(
    "read", [overview.schedules, overview.waiting, overview.dead_letters, overview.events]
)
def test_no_list_is_sorted_or_searched_through(
    connection: sqlite3.Connection, read: Callable[[sqlite3.Connection], object]
) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    read(connection)
    connection.set_trace_callback(None)
    assert statements
    for statement in statements:
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"))
        assert "TEMP B-TREE" not in plan, plan
        assert "messages" not in plan or "INDEX messages_" in plan or "PRIMARY KEY" in plan, plan
