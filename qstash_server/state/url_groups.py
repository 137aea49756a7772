"""URL groups in the state."""

import json
import sqlite3

from qstash_server.url_group import Endpoint, UrlGroup


def find(connection: sqlite3.Connection, name: str) -> UrlGroup | None:
    row = connection.execute("SELECT * FROM url_groups WHERE name = ?", (name,)).fetchone()
    return None if row is None else _read(row)


def every(connection: sqlite3.Connection) -> list[UrlGroup]:
    """Return all groups by name."""
    return [_read(row) for row in connection.execute("SELECT * FROM url_groups ORDER BY name")]


def store(connection: sqlite3.Connection, group: UrlGroup) -> None:
    """Write a group whole."""
    connection.execute(
        "INSERT OR REPLACE INTO url_groups (name, headers, endpoints, created_ms, updated_ms)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            group.name,
            json.dumps(group.headers),
            json.dumps([[endpoint.url, endpoint.name] for endpoint in group.endpoints]),
            group.created_ms,
            group.updated_ms,
        ),
    )


def delete(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM url_groups WHERE name = ?", (name,))


def _read(row: sqlite3.Row) -> UrlGroup:
    return UrlGroup(
        name=row["name"],
        endpoints=tuple(Endpoint(url=url, name=name) for url, name in json.loads(row["endpoints"])),
        headers=tuple((name, value) for name, value in json.loads(row["headers"])),
        created_ms=row["created_ms"],
        updated_ms=row["updated_ms"],
    )
