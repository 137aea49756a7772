"""Messages in the state, from their acceptance to the end of their retention."""

import base64
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from qstash_server.envelope import Envelope
from qstash_server.errors import BadRequest
from qstash_server.message import Held, Message, Response
from qstash_server.state import events, flow_keys, queues
from qstash_server.state.filters import Where

# A settled message can be read this long (GET /v2/messages/{id}): who publishes and asks at once
# must find it even when the delivery was faster.
LINGER_MS = 10_000
# The log shows the body of a delivered message; a large one is not worth its place on the disk.
KEPT_BODY_BYTES = 65_536
# What an ERROR event keeps of the response; the DLQ entry has all of it.
LOGGED_RESPONSE_BYTES = 4096
MESSAGE_COLUMNS = (
    "id, envelope, body, created_ms, not_before_ms, due_ms, retried, schedule_id, topic, endpoint, "
    "slot, messages.seq AS message_seq"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """An entry of the DLQ: a message that has failed for good, and the last response to it."""

    dlq_id: str
    message: Message
    response: Response


def insert(connection: sqlite3.Connection, accepted: Sequence[Message]) -> None:
    """Store messages that wait, in this order, and log that they were created.

    The queues and the flow-control keys that they name are made when they are not there.
    """
    for message in accepted:
        envelope = message.envelope
        if envelope.queue is not None:
            queues.ensure(connection, envelope.queue, message.created_ms)
        if envelope.flow is not None:
            flow_keys.publish(connection, envelope.flow, message.created_ms)
    # One writer, inside its transaction: nobody else takes these numbers.
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'").fetchone()
    numbered = list(enumerate(accepted, last[0] + 1 if last else 1))
    connection.executemany(
        "INSERT INTO messages (seq, id, url, labels, caller_ip, schedule_id, envelope, body,"
        " created_ms, not_before_ms, due_ms, retried, topic, endpoint, queue, slot, flow_key)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (_row(seq, message) for seq, message in numbered),
    )
    connection.executemany(
        "INSERT INTO events (message_seq, time_ms, state) VALUES (?, ?, 'CREATED')",
        ((seq, message.created_ms) for seq, message in numbered),
    )


def _row(seq: int, message: Message) -> tuple[object, ...]:
    envelope = message.envelope
    return (
        seq,
        message.id,
        envelope.url,
        json.dumps(envelope.labels) if envelope.labels else "[]",
        envelope.caller_ip,
        message.schedule_id,
        envelope.to_json(),
        envelope.body,
        message.created_ms,
        message.not_before_ms,
        message.due_ms,
        message.retried,
        message.topic,
        message.endpoint,
        envelope.queue,
        message.slot,
        envelope.flow and envelope.flow.key,
    )


def duplicate_of(
    connection: sqlite3.Connection, key: str, message_id: str, now_ms: int, window_ms: int
) -> str | None:
    """Return the id that was accepted under this key within the window, else remember this one."""
    row = connection.execute(
        "SELECT message_id FROM deduplication WHERE key = ? AND expires_ms > ?", (key, now_ms)
    ).fetchone()
    if row is not None:
        return str(row["message_id"])
    connection.execute(
        "INSERT OR REPLACE INTO deduplication (key, message_id, expires_ms) VALUES (?, ?, ?)",
        (key, message_id, now_ms + window_ms),
    )
    return None


def waiting(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Return id and due time of everything that is not settled, the earliest first."""
    rows = connection.execute(
        "SELECT id, due_ms FROM messages WHERE state = 'waiting' ORDER BY due_ms, id"
    )
    return [(row[0], row[1]) for row in rows]


def held(connection: sqlite3.Connection) -> list[Held]:
    """Return what waits in a queue or under flow control, in the order in which it came."""
    rows = connection.execute(
        "SELECT id, not_before_ms, due_ms, queue, slot, flow_key, retried FROM messages"
        " WHERE state = 'waiting' AND (queue IS NOT NULL OR flow_key IS NOT NULL)"
        " ORDER BY not_before_ms, seq"
    )
    return [Held(**row) for row in rows]


def load_waiting(connection: sqlite3.Connection, ids: list[str]) -> list[Message]:
    """Return those of the messages that still wait, in the order of `ids`."""
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE state = 'waiting' AND id IN ({marks})",  # noqa: S608
        ids,
    )
    found = {row["id"]: read_message(row) for row in rows}
    return [found[message_id] for message_id in ids if message_id in found]


def find(connection: sqlite3.Connection, message_id: str, now_ms: int) -> Message | None:
    """Return a message that waits, or was delivered or failed only just now."""
    row = connection.execute(
        f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE id = ? AND (state = 'waiting'"  # noqa: S608
        " OR (state <> 'canceled' AND settled_ms > ?))",
        (message_id, now_ms - LINGER_MS),
    ).fetchone()
    return None if row is None else read_message(row)


def read_message(row: sqlite3.Row) -> Message:
    return Message(
        id=row["id"],
        envelope=Envelope.from_json(row["envelope"], row["body"] or b""),
        created_ms=row["created_ms"],
        not_before_ms=row["not_before_ms"],
        due_ms=row["due_ms"],
        retried=row["retried"],
        schedule_id=row["schedule_id"],
        topic=row["topic"],
        endpoint=row["endpoint"],
        slot=row["slot"],
    )


def mark_active(connection: sqlite3.Connection, message_id: str, now_ms: int) -> None:
    seq = waiting_seq(connection, message_id)
    if seq is not None:
        events.add(connection, seq, "ACTIVE", now_ms)


def waiting_seq(connection: sqlite3.Connection, message_id: str) -> int | None:
    """Return the row number of a message that still waits; a cancelled one no longer does."""
    row = connection.execute(
        "SELECT seq FROM messages WHERE id = ? AND state = 'waiting'", (message_id,)
    ).fetchone()
    return None if row is None else row[0]


def mark_delivered(
    connection: sqlite3.Connection, seq: int, response: Response, now_ms: int
) -> None:
    _settle(connection, seq, "delivered", now_ms)
    events.add(connection, seq, "DELIVERED", now_ms, {"responseStatus": response.status})


def mark_retry(
    connection: sqlite3.Connection, seq: int, response: Response, due_ms: int, now_ms: int
) -> None:
    connection.execute(
        "UPDATE messages SET due_ms = ?, retried = retried + 1 WHERE seq = ?", (due_ms, seq)
    )
    events.add(connection, seq, "ERROR", now_ms, _error_detail(response))
    events.add(connection, seq, "RETRY", now_ms, {"nextDeliveryTime": due_ms})


def mark_failed(connection: sqlite3.Connection, seq: int, response: Response, now_ms: int) -> str:
    """Move the message into the DLQ and return its id there."""
    dlq_id = f"{now_ms}-{seq}"
    stored = json.dumps(
        {
            "headers": response.headers,
            "body": base64.b64encode(response.body).decode(),
            "error": response.error,
        }
    )
    connection.execute(
        "UPDATE messages SET state = 'failed', settled_ms = ?, dlq_id = ?, response_status = ?,"
        " response = ? WHERE seq = ?",
        (now_ms, dlq_id, response.status, stored, seq),
    )
    events.add(connection, seq, "ERROR", now_ms, _error_detail(response))
    events.add(connection, seq, "FAILED", now_ms, _error_detail(response))
    return dlq_id


def cancel(connection: sqlite3.Connection, seqs: list[int], now_ms: int) -> None:
    """Settle messages that wait. One that is in flight arrives; its outcome no longer counts."""
    for seq in seqs:
        events.add(connection, seq, "CANCEL_REQUESTED", now_ms)
        events.add(connection, seq, "CANCELED", now_ms)
        _settle(connection, seq, "canceled", now_ms)


def cancel_queued(connection: sqlite3.Connection, queue: str, now_ms: int) -> list[str]:
    """Cancel what waits in a queue and return the ids; callbacks of what was served stay."""
    rows = connection.execute(
        "SELECT seq, id FROM messages WHERE state = 'waiting' AND queue = ? AND slot IS NULL",
        (queue,),
    ).fetchall()
    cancel(connection, [row["seq"] for row in rows], now_ms)
    return [row["id"] for row in rows]


def reschedule(connection: sqlite3.Connection, message_id: str, due_ms: int) -> bool:
    """Move the next attempt of a message that waits; False if it does not.

    Raises BadRequest for one in a queue, which would overtake others.
    """
    row = connection.execute(
        "UPDATE messages SET due_ms = ? WHERE id = ? AND state = 'waiting' RETURNING queue",
        (due_ms, message_id),
    ).fetchone()
    if row is not None and row["queue"] is not None:
        raise BadRequest(f"message {message_id} is in the queue {row['queue']}, and waits its turn")
    return row is not None


def states(connection: sqlite3.Connection, ids: tuple[str, ...]) -> dict[str, str]:
    """Return the state of those messages that are still known."""
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(f"SELECT id, state FROM messages WHERE id IN ({marks})", ids)  # noqa: S608
    return {row["id"]: row["state"] for row in rows}


def read_dead_letter(row: sqlite3.Row) -> DeadLetter:
    stored = json.loads(row["response"])
    return DeadLetter(
        dlq_id=row["dlq_id"],
        message=read_message(row),
        response=Response(
            status=row["response_status"],
            headers=stored["headers"],
            body=base64.b64decode(stored["body"]),
            error=stored["error"],
        ),
    )


def forget_dead_letters(connection: sqlite3.Connection, where: Where) -> int:
    """Take entries out of the DLQ; the log keeps their events. Returns how many there were."""
    cursor = connection.execute(
        f"UPDATE messages SET dlq_id = NULL, response = NULL, body = {_KEPT_BODY}"  # noqa: S608
        f" WHERE dlq_id IS NOT NULL AND {where}",
        where.parameters,
    )
    return cursor.rowcount


_KEPT_BODY = f"CASE WHEN length(body) <= {KEPT_BODY_BYTES} THEN body END"


def _settle(connection: sqlite3.Connection, seq: int, state: str, now_ms: int) -> None:
    connection.execute(
        f"UPDATE messages SET state = ?, settled_ms = ?, body = {_KEPT_BODY} WHERE seq = ?",  # noqa: S608
        (state, now_ms, seq),
    )


def _error_detail(response: Response) -> dict[str, object]:
    detail: dict[str, object] = {"error": response.error or f"status {response.status}"}
    if response.error is None:
        detail["responseStatus"] = response.status
        detail["responseHeader"] = response.headers
        detail["responseBody"] = response.body[:LOGGED_RESPONSE_BYTES].decode(errors="replace")
    return detail
