"""Flow-control keys in the state."""

import json
import sqlite3
from dataclasses import asdict

from qstash_server.dispatch.throttle import GUARD_MS
from qstash_server.flow_control import FlowControl, FlowKey


def publish(connection: sqlite3.Connection, flow: FlowControl, now_ms: int) -> None:
    """Take over the limits that a message came with."""
    key = find(connection, flow.key)
    changed = (key or FlowKey(key=flow.key)).published(flow)
    if key != changed:
        store(connection, changed, now_ms)


def store(connection: sqlite3.Connection, key: FlowKey, now_ms: int) -> None:
    """Write a key. What somebody has pinned or paused is kept until it no longer is."""
    kept = key.paused or key.pinned_parallelism is not None or key.pinned_rate is not None
    connection.execute(
        "INSERT OR REPLACE INTO flow_keys (key, value, kept, updated_ms) VALUES (?, ?, ?, ?)",
        (key.key, json.dumps(asdict(key)), kept, now_ms),
    )


def find(connection: sqlite3.Connection, key: str) -> FlowKey | None:
    row = connection.execute("SELECT value FROM flow_keys WHERE key = ?", (key,)).fetchone()
    return None if row is None else FlowKey(**json.loads(row["value"]))


def search(connection: sqlite3.Connection, text: str) -> list[FlowKey]:
    """Return the keys that contain a text, by name."""
    rows = connection.execute(
        "SELECT value FROM flow_keys WHERE instr(key, ?) > 0 ORDER BY key", (text,)
    )
    return [FlowKey(**json.loads(row["value"])) for row in rows]


def starts_ms(connection: sqlite3.Connection, key: FlowKey, now_ms: int) -> list[int]:
    """Return when the calls of a key started that still count for its rate, from the log."""
    if key.max_rate is None:
        return []
    rows = connection.execute(
        "SELECT time_ms FROM events JOIN messages ON messages.seq = events.message_seq"
        " WHERE messages.flow_key = ? AND events.state = 'ACTIVE' AND time_ms > ?"
        " ORDER BY events.time_ms",
        (key.key, max(now_ms - key.max_rate_period_s * 1000 - GUARD_MS, key.reset_ms)),
    )
    return [row[0] for row in rows]


def sweep(connection: sqlite3.Connection, before_ms: int) -> list[str]:
    """Forget keys that nobody pinned or paused and that no message is under; return them."""
    rows = connection.execute(
        "DELETE FROM flow_keys WHERE NOT kept AND updated_ms <= ? AND NOT EXISTS"
        " (SELECT 1 FROM messages WHERE messages.flow_key = flow_keys.key) RETURNING key",
        (before_ms,),
    )
    return [row[0] for row in rows]
