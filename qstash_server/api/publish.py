"""POST /v2/publish, /v2/enqueue and /v2/batch."""

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from functools import partial
from typing import Any

from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.envelope import Envelope
from qstash_server.errors import ApiError, BadRequest, QuotaExceeded
from qstash_server.fan_out import fan_out
from qstash_server.message import Message
from qstash_server.options import Options, read_due_ms, read_envelope, read_options
from qstash_server.parsing.destination import is_url, no_such_group, parse_destination
from qstash_server.state import messages, url_groups
from qstash_server.url_group import UrlGroup, check_name

Pairs = tuple[tuple[str, str], ...]
#: Where an item of a batch stands among the receipts, a URL group in several places; or its error.
_Place = int | slice | dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """Something to publish: a request, or an item of a batch. destination: raw, as it came."""

    destination: str
    headers: Pairs
    body: bytes
    query: Pairs = ()
    queue: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """What all publications have in common that differ in their bodies alone; group: None for a URL.

    deduplicates: whether a message may be the same as an earlier one.
    """

    envelope: Envelope
    group: UrlGroup | None
    options: Options
    deduplicates: bool
    now_ms: int
    due_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A message to be accepted, unless one with the same key was in the last minutes."""

    message: Message
    key: str | None


async def publish(broker: Broker, call: Call, destination: str, queue: str | None = None) -> Answer:
    """Accept one message, or one for each URL of a group."""
    publication = Publication(
        destination=with_query(destination, call.destination_query),
        headers=call.headers,
        query=tuple(call.query),
        body=call.body,
        queue=queue,
    )
    pattern = await _pattern(broker, publication, call.caller_ip, broker.clock.now_ms())
    receipts = await accept(broker, _orders(broker, pattern, publication.body))
    if pattern.group is not None:
        return Answer(body=receipts)
    return Answer(status=202 if "deduplicated" in receipts[0] else 200, body=receipts[0])


async def enqueue(broker: Broker, call: Call, queue: str, destination: str) -> Answer:
    """Accept a message that is delivered when all before it in the queue are done with."""
    return await publish(broker, call, destination, check_name(queue, what="queue"))


async def batch(broker: Broker, call: Call) -> Answer:
    """Accept several messages; a bad one gets an error in its place and stops no other."""
    items = call.json()
    if not isinstance(items, list):
        raise BadRequest("a batch is a JSON array of messages")
    # Most batches send many bodies the same way: what the way says is worked out once.
    patterns: dict[Any, Pattern] = {}
    # One time for all of them: those of one queue go by their due times.
    now_ms = broker.clock.now_ms()
    orders: list[Order] = []
    places: list[_Place] = []
    for item in items:
        try:
            publication = _publication(item)
            way = (publication.destination, publication.queue, publication.headers)
            pattern = patterns.get(way)
            if pattern is None:
                pattern = await _pattern(broker, publication, call.caller_ip, now_ms)
                patterns[way] = pattern
            found = _orders(broker, pattern, publication.body)
            places.append(
                slice(len(orders), len(orders) + len(found)) if pattern.group else len(orders)
            )
            orders += found
        except ApiError as error:
            places.append({"error": str(error), "status": error.status})
    receipts = await accept(broker, orders)
    return Answer(body=[place if isinstance(place, dict) else receipts[place] for place in places])


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
    return [_receipt(order.message, duplicate) for order, duplicate in pairs]


async def find_group(broker: Broker, name: str) -> UrlGroup:
    """Return a URL group that is published to. Raises NotFound, BadRequest."""
    group = await broker.database.read(partial(url_groups.find, name=name))
    if group is None:
        raise no_such_group(name)
    return group


def with_query(destination: str, query: str) -> str:
    """Glue the query of a destination back on."""
    return f"{destination}?{query}" if query else destination


def with_defaults(headers: Pairs, query: Pairs, group: UrlGroup) -> Pairs:
    """Add the headers of a group that a request to it has neither as headers nor in its query."""
    names = {name.lower() for name, _ in headers + query}
    return headers + tuple(pair for pair in group.headers if pair[0].lower() not in names)


def check_size(broker: Broker, body: bytes) -> None:
    limit = broker.settings.max_message_bytes
    if len(body) > limit:
        raise QuotaExceeded(f"the body has {len(body)} bytes; the limit is {limit} bytes")


async def _pattern(
    broker: Broker, publication: Publication, caller_ip: str, now_ms: int
) -> Pattern:
    """Work out what a publication asks for. Raises ApiError."""
    destination = parse_destination(publication.destination)
    group = None if is_url(destination) else await find_group(broker, destination)
    headers, query = publication.headers, publication.query
    if group is not None:
        headers = with_defaults(headers, query, group)
    options = read_options(headers, query)
    if options.get("cron"):
        raise BadRequest("Upstash-Cron makes a schedule: send it to /v2/schedules/ instead")
    envelope = read_envelope(
        options, url=destination, body=b"", caller_ip=caller_ip, queue=publication.queue
    )
    await check_destinations(broker, envelope, group)
    return Pattern(
        envelope=envelope,
        group=group,
        options=options,
        deduplicates=options.get("deduplication-id") is not None
        or options.flag("content-based-deduplication"),
        now_ms=now_ms,
        due_ms=read_due_ms(options, now_ms),
    )


async def check_destinations(broker: Broker, envelope: Envelope, group: UrlGroup | None) -> None:
    """Refuse what may not be called, and a host that does not exist. Raises BadRequest.

    The hosts of a group are not looked up: one that is gone must not keep the message from the
    others, and its own message says what is wrong.
    """
    called = [envelope.url] if group is None else [endpoint.url for endpoint in group.endpoints]
    broker.firewall.check_listed([*called, *envelope.callback_urls])
    if group is None:
        await broker.firewall.check_exists(envelope.url)


def _orders(broker: Broker, pattern: Pattern, body: bytes) -> list[Order]:
    """Return a message for each URL that is published to."""
    check_size(broker, body)
    made = fan_out(
        pattern.envelope.with_body(body),
        pattern.group,
        now_ms=pattern.now_ms,
        due_ms=pattern.due_ms,
    )
    if not pattern.deduplicates:
        return [Order(message=message, key=None) for message in made]
    return [
        Order(message=message, key=_deduplication_key(pattern.options, message)) for message in made
    ]


def _publication(item: Any) -> Publication:
    if not isinstance(item, dict) or not isinstance(item.get("destination"), str):
        raise BadRequest("every message of a batch is an object with a destination")
    headers, body, queue = item.get("headers") or {}, item.get("body"), item.get("queue")
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise BadRequest("the headers of a message are an object of strings")
    if not isinstance(body, str | None):
        raise BadRequest("the body of a message is a string or null")
    if not isinstance(queue, str | None):
        raise BadRequest("the queue of a message is its name or null")
    return Publication(
        destination=item["destination"],
        headers=tuple(headers.items()),
        body=_utf8(body or ""),
        queue=queue,
    )


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # JSON can spell a lone surrogate.
        raise BadRequest("the body of a message is not valid Unicode") from error


def _receipt(message: Message, duplicate: str | None) -> dict[str, Any]:
    receipt: dict[str, Any] = {"messageId": message.id}
    if duplicate is not None:
        receipt = {"messageId": duplicate, "deduplicated": True}
    if message.topic is not None:
        receipt["url"] = message.envelope.url
    return receipt


def _deduplication_key(options: Options, message: Message) -> str:
    envelope = message.envelope
    explicit = options.get("deduplication-id")
    if explicit is not None:
        # Each URL of a group gets the message once.
        return f"id:{explicit}" if message.topic is None else f"id:{explicit} {envelope.url}"
    content = json.dumps([envelope.url, envelope.headers], sort_keys=True).encode()
    return "content:" + hashlib.sha256(content + b"\0" + envelope.body).hexdigest()


def _store(
    connection: sqlite3.Connection, orders: list[Order], now_ms: int, window_ms: int
) -> list[str | None]:
    """Store the messages that are new; return the id of the earlier one for each that is not."""
    duplicates = [
        order.key
        and messages.duplicate_of(connection, order.key, order.message.id, now_ms, window_ms)
        for order in orders
    ]
    pairs = zip(orders, duplicates, strict=True)
    messages.insert(connection, [order.message for order, duplicate in pairs if duplicate is None])
    return duplicates
