"""What leaves the state, so that it does not grow without end."""

import sqlite3
from dataclasses import dataclass

from qstash_server.state import flow_keys


@dataclass(frozen=True, kw_only=True)
class Retention:
    """log_s: how long events and the settled messages they belong to stay. dlq_s: DLQ entries.

    settled: at most this many settled messages stay, however young they are.
    """

    log_s: int = 3 * 86_400
    dlq_s: int = 7 * 86_400
    settled: int = 100_000


def sweep(connection: sqlite3.Connection, retention: Retention, now_ms: int) -> list[str]:
    """Delete what is past its time; return the flow-control keys that nothing is under any more.

    Messages that wait are never touched. Every statement goes through an index, so the work is
    proportional to what leaves.
    """
    connection.execute("DELETE FROM deduplication WHERE expires_ms <= ?", (now_ms,))
    connection.execute("DELETE FROM events WHERE time_ms <= ?", (now_ms - retention.log_s * 1000,))
    connection.execute(
        "UPDATE messages SET dlq_id = NULL WHERE dlq_id IS NOT NULL AND settled_ms <= ?",
        (now_ms - retention.dlq_s * 1000,),
    )
    connection.execute(
        "DELETE FROM messages WHERE settled_ms <= ? AND dlq_id IS NULL",
        (now_ms - retention.log_s * 1000,),
    )
    connection.execute(
        "DELETE FROM messages WHERE settled_ms <= (SELECT settled_ms FROM messages"
        " WHERE settled_ms IS NOT NULL ORDER BY settled_ms DESC LIMIT 1 OFFSET ?)",
        (retention.settled,),
    )
    return flow_keys.sweep(connection, now_ms - retention.log_s * 1000)
