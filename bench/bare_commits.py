"""Bare SQLite, as durable as the QStash server: its tables and the rows that it writes, no more."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from qstash_server.state.schema import migrate


class BareCommits:
    """Writes copies of a message that a server has accepted, with the events that it has."""

    def __init__(self, directory: Path, accepted: Path) -> None:
        """directory: where the file shall lie. accepted: the state with one message or more."""
        source = sqlite3.connect(accepted)
        self._message = source.execute("SELECT * FROM messages ORDER BY seq LIMIT 1").fetchone()
        self._event = source.execute("SELECT * FROM events ORDER BY seq LIMIT 1").fetchone()
        source.close()
        self._connection = sqlite3.connect(directory / "floor.sqlite3", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        migrate(self._connection)

    def per_second(self, count: int, group: int) -> float:
        """Return how many messages a second a loop writes in transactions of `group`."""
        started = time.perf_counter()
        for _ in range(count // group):
            self._connection.execute("BEGIN IMMEDIATE")
            for _ in range(group):
                self._insert()
            self._connection.execute("COMMIT")
        return count / (time.perf_counter() - started)

    def _insert(self) -> None:
        # The first column of both tables numbers the rows; a message's second is its id, and an
        # event's the number of its message. Ids grow with the time, like those of the server.
        message_seq = self._add("messages", (f"msg_{time.time_ns():036x}", *self._message[2:]))
        self._add("events", (message_seq, *self._event[2:]))

    def _add(self, table: str, values: tuple[Any, ...]) -> int | None:
        marks = ", ?" * len(values)
        statement = f"INSERT INTO {table} VALUES (NULL{marks})"  # noqa: S608 - names of our own
        return self._connection.execute(statement, values).lastrowid
