"""The log: what happened to each message, newest first."""

import json
import sqlite3
from typing import Any

IN_PROGRESS = ("ACTIVE", "RETRY", "ERROR")
STATES = (
    "CREATED",
    "ACTIVE",
    "RETRY",
    "ERROR",
    "DELIVERED",
    "FAILED",
    "CANCEL_REQUESTED",
    "CANCELED",
)


def add(
    connection: sqlite3.Connection,
    message_seq: int,
    state: str,
    time_ms: int,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write one event. detail: keys as they go over the wire, added to those of the message."""
    connection.execute(
        "INSERT INTO events (message_seq, time_ms, state, detail) VALUES (?, ?, ?, ?)",
        (message_seq, time_ms, state, json.dumps(detail) if detail else None),
    )
