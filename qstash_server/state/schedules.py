"""Schedules in the state."""

import json
import sqlite3
from collections.abc import Sequence

from qstash_server.envelope import Envelope
from qstash_server.message import Message
from qstash_server.schedule import Schedule
from qstash_server.state import messages


def upsert(connection: sqlite3.Connection, schedule: Schedule) -> None:
    """Store a schedule. One with the same id is replaced whole, but for when it was created."""
    connection.execute(
        "INSERT INTO schedules (id, cron, delay_s, envelope, body, created_ms, paused, next_ms,"
        " last_messages) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '[]') ON CONFLICT (id) DO UPDATE SET"
        " cron = excluded.cron, delay_s = excluded.delay_s, envelope = excluded.envelope,"
        " body = excluded.body, paused = excluded.paused, next_ms = excluded.next_ms",
        (
            schedule.id,
            schedule.cron,
            schedule.delay_s,
            schedule.envelope.to_json(),
            schedule.envelope.body,
            schedule.created_ms,
            schedule.paused,
            schedule.next_ms,
        ),
    )


def find(connection: sqlite3.Connection, schedule_id: str) -> Schedule | None:
    row = connection.execute("SELECT * FROM schedules WHERE id = ?", (schedule_id,)).fetchone()
    return None if row is None else read(row)


def every(connection: sqlite3.Connection) -> list[Schedule]:
    """Return all schedules, the newest first."""
    rows = connection.execute("SELECT * FROM schedules ORDER BY created_ms DESC, id")
    return [read(row) for row in rows]


def next_times(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Return id and next firing of the schedules that have one."""
    rows = connection.execute("SELECT id, next_ms FROM schedules WHERE next_ms IS NOT NULL")
    return [(row[0], row[1]) for row in rows]


def set_paused(
    connection: sqlite3.Connection, schedule_id: str, paused: bool, next_ms: int | None
) -> None:
    connection.execute(
        "UPDATE schedules SET paused = ?, next_ms = ? WHERE id = ?", (paused, next_ms, schedule_id)
    )


def delete(connection: sqlite3.Connection, schedule_id: str) -> bool:
    cursor = connection.execute("DELETE FROM schedules WHERE id = ?", (schedule_id,))
    return cursor.rowcount == 1


def fire(
    connection: sqlite3.Connection,
    schedule_id: str,
    made: Sequence[Message],
    fired_ms: int,
    next_ms: int | None,
) -> None:
    """Store the messages of one firing and the time of the next, in one transaction.

    So neither a crash nor a restart can lose a firing or repeat it.
    """
    messages.insert(connection, made)
    connection.execute(
        "UPDATE schedules SET last_ms = ?, next_ms = ?, last_messages = ? WHERE id = ?",
        (fired_ms, next_ms, json.dumps([message.id for message in made]), schedule_id),
    )


def read(row: sqlite3.Row) -> Schedule:
    return Schedule(
        id=row["id"],
        envelope=Envelope.from_json(row["envelope"], row["body"]),
        cron=row["cron"],
        delay_s=row["delay_s"],
        created_ms=row["created_ms"],
        paused=bool(row["paused"]),
        last_ms=row["last_ms"],
        next_ms=row["next_ms"],
        last_messages=tuple(json.loads(row["last_messages"])),
    )
