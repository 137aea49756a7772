"""Queues in the state."""

import sqlite3

from qstash_server.queue import Queue


def ensure(connection: sqlite3.Connection, name: str, now_ms: int) -> None:
    """Make a queue that serves one message at a time, unless it exists."""
    connection.execute(
        "INSERT OR IGNORE INTO queues (name, parallelism, paused, created_ms, updated_ms)"
        " VALUES (?, 1, 0, ?, ?)",
        (name, now_ms, now_ms),
    )


def upsert(connection: sqlite3.Connection, queue: Queue) -> Queue:
    """Store a queue and return it as it is now; one that exists keeps when it was created."""
    row = connection.execute(
        "INSERT INTO queues (name, parallelism, paused, created_ms, updated_ms)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
        " parallelism = excluded.parallelism, paused = excluded.paused,"
        " updated_ms = excluded.updated_ms RETURNING *",
        (queue.name, queue.parallelism, queue.paused, queue.created_ms, queue.updated_ms),
    ).fetchone()
    return _read(row)


def find(connection: sqlite3.Connection, name: str) -> Queue | None:
    row = connection.execute("SELECT * FROM queues WHERE name = ?", (name,)).fetchone()
    return None if row is None else _read(row)


def every(connection: sqlite3.Connection) -> list[Queue]:
    """Return all queues by name."""
    return [_read(row) for row in connection.execute("SELECT * FROM queues ORDER BY name")]


def lag(connection: sqlite3.Connection, name: str) -> int:
    """Return how many messages of a queue are not settled; their callbacks do not count."""
    row = connection.execute(
        "SELECT count(*) FROM messages WHERE state = 'waiting' AND queue = ? AND slot IS NULL",
        (name,),
    ).fetchone()
    return int(row[0])


def delete(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM queues WHERE name = ?", (name,))


def _read(row: sqlite3.Row) -> Queue:
    return Queue(
        name=row["name"],
        parallelism=row["parallelism"],
        paused=bool(row["paused"]),
        created_ms=row["created_ms"],
        updated_ms=row["updated_ms"],
    )
