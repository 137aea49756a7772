"""The signing keys in the state, so that a rotation survives a restart."""

import json
import sqlite3

from qstash_server.signing import SigningKeys

_CURRENT = "signing_keys"
_CONFIGURED = "configured_signing_keys"


def load(connection: sqlite3.Connection, configured: SigningKeys) -> SigningKeys:
    """Return the keys in use.

    They are the configured ones until the first rotation. When the configuration has changed
    since then, its owner wants those keys, and the rotated ones are forgotten.
    """
    if _get(connection, _CONFIGURED) != configured:
        _set(connection, _CONFIGURED, configured)
        _set(connection, _CURRENT, configured)
    return _get(connection, _CURRENT) or configured


def rotate(connection: sqlite3.Connection, keys: SigningKeys) -> SigningKeys:
    """Make the next key the current one, and a new one the next. Returns the new pair."""
    rotated = keys.rotated()
    _set(connection, _CURRENT, rotated)
    return rotated


def _get(connection: sqlite3.Connection, name: str) -> SigningKeys | None:
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return None if row is None else SigningKeys(**json.loads(row["value"]))


def _set(connection: sqlite3.Connection, name: str, keys: SigningKeys) -> None:
    value = json.dumps({"current": keys.current, "next": keys.next})
    connection.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (name, value))
