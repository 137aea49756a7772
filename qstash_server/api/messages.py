"""/v2/messages: read, cancel and hurry messages that wait."""

import sqlite3
from functools import partial

from qstash_server import wire
from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.errors import BadRequest, NotFound
from qstash_server.state import messages
from qstash_server.state.filters import FOR_MESSAGES, Where, named_alone, read_filters


async def get(broker: Broker, call: Call, message_id: str) -> Answer:
    now_ms = broker.clock.now_ms()
    message = await broker.database.read(
        partial(messages.find, message_id=message_id, now_ms=now_ms)
    )
    if message is None:
        raise _not_found(message_id)
    return Answer(body=wire.message(message))


async def cancel(broker: Broker, call: Call, message_id: str) -> Answer:
    where = Where().add("messages.id = ?", message_id)
    cancelled = await _cancel(broker, where)
    if not cancelled:
        raise _not_found(message_id)
    return Answer(status=202, body={"cancelled": cancelled})


async def cancel_many(broker: Broker, call: Call) -> Answer:
    """Cancel the messages named in the body or by filters; all of them when there is neither."""
    filters = named_alone(call.query + _body_filters(call), "messageIds")
    limits = [value for name, value in filters if name == "count"]
    where = read_filters(
        [pair for pair in filters if pair[0] != "count"],
        FOR_MESSAGES,
        time_column="messages.created_ms",
    )
    limit = _count(limits[-1]) if limits else -1
    return Answer(status=202, body={"cancelled": await _cancel(broker, where, limit)})


async def retry(broker: Broker, call: Call, message_id: str) -> Answer:
    """Make the next attempt now instead of when it is due."""
    now_ms = broker.clock.now_ms()
    moved = await broker.database.write(
        partial(messages.reschedule, message_id=message_id, due_ms=now_ms)
    )
    if not moved:
        raise _not_found(message_id)
    broker.scheduler.move(message_id, now_ms)
    return Answer(body={"messageId": message_id})


def _body_filters(call: Call) -> list[tuple[str, str]]:
    """Return the filters of a JSON body. An empty list of ids names nothing, not everything."""
    if not call.body:
        return []
    value = call.json()
    if not isinstance(value, dict) or not value:
        raise BadRequest(
            'the body is an object such as {"messageIds": ["msg_…"]}, or there is none'
        )
    pairs = []
    for name, items in value.items():
        alternatives = items if isinstance(items, list) else [items]
        pairs += [(name, str(item)) for item in alternatives or [""]]
    return pairs


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadRequest(f"invalid count {text!r}: a whole number")
    return int(text)


async def _cancel(broker: Broker, where: Where, limit: int = -1) -> int:
    now_ms = broker.clock.now_ms()

    def job(connection: sqlite3.Connection) -> list[str]:
        rows = connection.execute(
            f"SELECT seq, id FROM messages WHERE state = 'waiting' AND {where}"  # noqa: S608
            " ORDER BY seq LIMIT ?",
            (*where.parameters, limit),
        ).fetchall()
        messages.cancel(connection, [row["seq"] for row in rows], now_ms)
        return [row["id"] for row in rows]

    cancelled = await broker.database.write(job)
    broker.scheduler.forget(cancelled)
    return len(cancelled)


def _not_found(message_id: str) -> NotFound:
    return NotFound(f"message {message_id} not found: it was delivered, cancelled or never existed")
