"""What the page shows of the state. However much there is, a look at it costs about the same.

Each list goes along an index and stops after a few rows, and no body is read: one may have 10 MB,
and the page asks every other second.
"""

import sqlite3
from dataclasses import dataclass

from qstash_server.state.messages import MESSAGE_COLUMNS

MOST_ROWS = 50
# Counting further would take longer with every message, and nobody needs it to the last digit.
COUNTED = 100_000
_MESSAGE = MESSAGE_COLUMNS.replace(" body,", " NULL AS body,")
_SCHEDULE = (
    "id, envelope, x'' AS body, cron, delay_s, created_ms, paused, last_ms, next_ms, last_messages"
)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The first rows, and how many there are; a total above COUNTED means at least that many."""

    rows: list[sqlite3.Row]
    total: int


def schedules(connection: sqlite3.Connection) -> Listing:
    """Return schedules by their id: that order stays the same whatever happens to them."""
    return _listing(connection, _SCHEDULE, "schedules", "1", "id")


def waiting(connection: sqlite3.Connection) -> Listing:
    """Return messages that wait, those first that are due first."""
    return _listing(connection, _MESSAGE, "messages", "state = 'waiting'", "due_ms, id")


def dead_letters(connection: sqlite3.Connection) -> Listing:
    """Return entries of the DLQ, the newest first."""
    # The response can have a megabyte. It is opened only where there was none: for the reason.
    columns = (
        f"{_MESSAGE}, dlq_id, settled_ms, response_status, CASE WHEN response_status = 0"
        " THEN json_extract(response, '$.error') END AS error"
    )
    # The id begins with the time, and has an index.
    return _listing(connection, columns, "messages", "dlq_id IS NOT NULL", "dlq_id DESC")


def events(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    """Return the latest events with their messages, the newest first."""
    return connection.execute(
        f"SELECT {_MESSAGE}, events.seq AS event_seq, events.time_ms, events.state, events.detail"  # noqa: S608
        " FROM events JOIN messages ON messages.seq = events.message_seq"
        " ORDER BY events.seq DESC LIMIT ?",
        (MOST_ROWS,),
    ).fetchall()


def _listing(
    connection: sqlite3.Connection, columns: str, table: str, condition: str, order: str
) -> Listing:
    source = f"FROM {table} WHERE {condition}"
    rows = connection.execute(f"SELECT {columns} {source} ORDER BY {order} LIMIT ?", (MOST_ROWS,))
    [total] = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 {source} LIMIT ?)",  # noqa: S608
        (COUNTED + 1,),
    ).fetchone()
    return Listing(rows=rows.fetchall(), total=total)
