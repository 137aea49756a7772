"""What leaves the state, so that it does not grow without end."""

import sqlite3
from dataclasses import dataclass

# Everybody else's writes wait for a sweep, so it takes no more rows at a time: some 15 ms.
_AT_ONCE = 500
# The file keeps this much free space, which it will need again: 10 MB.
_SPARE_PAGES = 2500


@dataclass(frozen=True, kw_only=True)
class Retention:
    """log_s: how long events and the settled messages they belong to stay. dlq_s: DLQ entries.

    settled: at most this many settled messages stay, however young they are.
    """

    log_s: int = 3 * 86_400
    dlq_s: int = 7 * 86_400
    settled: int = 100_000


def sweep(connection: sqlite3.Connection, retention: Retention, now_ms: int) -> bool:
    """Delete some of what is past its time. Returns whether there is more, for the next call.

    Messages that wait are never touched. Every statement goes through an index, so the work is
    proportional to what leaves.
    """
    logged_ms, failed_ms = now_ms - retention.log_s * 1000, now_ms - retention.dlq_s * 1000
    changed = [
        connection.execute(f"{statement} LIMIT {_AT_ONCE})", (limit,)).rowcount
        for statement, limit in (
            (_FORGET_KEYS, now_ms),
            (_DELETE_EVENTS, logged_ms),
            (_LEAVE_DLQ, failed_ms),
            (_DELETE_OLD, logged_ms),
            (_DELETE_SURPLUS, retention.settled),
        )
    ]
    return max(changed) == _AT_ONCE or _shrink(connection)


# Each names the rows by a query that the caller limits.
_FORGET_KEYS = (
    "DELETE FROM deduplication WHERE key IN (SELECT key FROM deduplication WHERE expires_ms <= ?"
)
_DELETE_EVENTS = "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE time_ms <= ?"
_LEAVE_DLQ = (
    "UPDATE messages SET dlq_id = NULL WHERE seq IN (SELECT seq FROM messages"
    " WHERE dlq_id IS NOT NULL AND settled_ms <= ?"
)
_DELETE_OLD = (
    "DELETE FROM messages WHERE seq IN (SELECT seq FROM messages"
    " WHERE settled_ms <= ? AND dlq_id IS NULL"
)
_DELETE_SURPLUS = (
    "DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE settled_ms <="
    " (SELECT settled_ms FROM messages WHERE settled_ms IS NOT NULL"
    " ORDER BY settled_ms DESC LIMIT 1 OFFSET ?)"
)


def _shrink(connection: sqlite3.Connection) -> bool:
    """Give free pages back to the disk, some at a time. Returns whether there are more to give.

    Files that were made before this server asked for it stay as large as they are.
    """
    free, total = _pragma(connection, "freelist_count"), _pragma(connection, "page_count")
    surplus = free - max(_SPARE_PAGES, (total - free) // 4)
    # Python takes one step of a statement without columns, which is one page, whatever it asks for.
    for _ in range(min(surplus, _AT_ONCE)):
        connection.execute("PRAGMA incremental_vacuum(1)")
    return surplus > _AT_ONCE and _pragma(connection, "freelist_count") < free


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
