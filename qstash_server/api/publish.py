"""POST /v2/publish and /v2/batch."""

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from functools import partial
from typing import Any

from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.destination import parse_destination
from qstash_server.envelope import Envelope
from qstash_server.errors import ApiError, BadRequest, QuotaExceeded
from qstash_server.headers import Options, read_due_ms, read_envelope, read_options
from qstash_server.message import Message, new_message
from qstash_server.state import messages


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A message to be accepted, unless one with the same key was in the last minutes."""

    message: Message
    key: str | None


async def publish(broker: Broker, call: Call, destination: str) -> Answer:
    """Accept one message."""
    options = read_options(call.headers, call.query)
    if options.get("cron"):
        raise BadRequest("Upstash-Cron makes a schedule: send it to /v2/schedules/ instead")
    order = _order(
        broker,
        options,
        url=parse_destination(with_query(destination, call.destination_query)),
        body=call.body,
        caller_ip=call.caller_ip,
    )
    [receipt] = await accept(broker, [order])
    return Answer(status=202 if "deduplicated" in receipt else 200, body=receipt)


async def batch(broker: Broker, call: Call) -> Answer:
    """Accept several messages; a bad one gets an error in its place and stops no other."""
    items = call.json()
    if not isinstance(items, list):
        raise BadRequest("a batch is a JSON array of messages")
    answers: list[dict[str, Any] | None] = []
    orders: list[Order] = []
    for item in items:
        try:
            orders.append(_batch_order(broker, item, call.caller_ip))
            answers.append(None)
        except ApiError as error:
            answers.append({"error": str(error), "status": error.status})
    receipts = iter(await accept(broker, orders))
    return Answer(body=[next(receipts) if answer is None else answer for answer in answers])


async def accept(broker: Broker, orders: list[Order]) -> list[dict[str, Any]]:
    """Store messages and hand them to the scheduler; what is returned is on disk."""
    if not orders:
        return []
    duplicates = await broker.database.write(
        partial(
            _store,
            orders=orders,
            now_ms=broker.clock.now_ms(),
            window_ms=broker.settings.deduplication_ms,
        )
    )
    pairs = list(zip(orders, duplicates, strict=True))
    broker.scheduler.add(order.message for order, duplicate in pairs if duplicate is None)
    return [
        {"messageId": order.message.id}
        if duplicate is None
        else {"messageId": duplicate, "deduplicated": True}
        for order, duplicate in pairs
    ]


def with_query(destination: str, query: str) -> str:
    """Glue the query of a destination back on."""
    return f"{destination}?{query}" if query else destination


def check_size(broker: Broker, body: bytes) -> None:
    limit = broker.settings.max_message_bytes
    if len(body) > limit:
        raise QuotaExceeded(f"the body has {len(body)} bytes; the limit is {limit} bytes")


def _order(broker: Broker, options: Options, *, url: str, body: bytes, caller_ip: str) -> Order:
    check_size(broker, body)
    now_ms = broker.clock.now_ms()
    envelope = read_envelope(options, url=url, body=body, caller_ip=caller_ip)
    message = new_message(envelope, now_ms=now_ms, due_ms=read_due_ms(options, now_ms))
    return Order(message=message, key=_deduplication_key(options, envelope))


def _batch_order(broker: Broker, item: Any, caller_ip: str) -> Order:
    if not isinstance(item, dict) or not isinstance(item.get("destination"), str):
        raise BadRequest("every message of a batch is an object with a destination")
    headers, body = item.get("headers") or {}, item.get("body")
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise BadRequest("the headers of a message are an object of strings")
    if not isinstance(body, str | None):
        raise BadRequest("the body of a message is a string or null")
    if item.get("queue") is not None:
        raise BadRequest("this server has no queues")
    return _order(
        broker,
        read_options(headers.items()),
        url=parse_destination(item["destination"]),
        body=_utf8(body or ""),
        caller_ip=caller_ip,
    )


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # JSON can spell a lone surrogate.
        raise BadRequest("the body of a message is not valid Unicode") from error


def _deduplication_key(options: Options, envelope: Envelope) -> str | None:
    explicit = options.get("deduplication-id")
    if explicit is not None:
        return f"id:{explicit}"
    if not options.flag("content-based-deduplication"):
        return None
    content = json.dumps([envelope.url, envelope.headers], sort_keys=True).encode()
    return "content:" + hashlib.sha256(content + b"\0" + envelope.body).hexdigest()


def _store(
    connection: sqlite3.Connection, orders: list[Order], now_ms: int, window_ms: int
) -> list[str | None]:
    """Store the messages that are new; return the id of the earlier one for each that is not."""
    duplicates: list[str | None] = []
    for order in orders:
        duplicate = order.key and messages.duplicate_of(
            connection, order.key, order.message.id, now_ms, window_ms
        )
        if duplicate is None:
            messages.insert(connection, order.message)
        duplicates.append(duplicate)
    return duplicates
