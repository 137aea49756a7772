"""/v2/dlq: messages that failed for good; read them, delete them, or send them again."""

import sqlite3
from dataclasses import replace
from functools import partial

from qstash_server import wire
from qstash_server.api.page import Page, read_page, with_cursor
from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.errors import BadRequest, NotFound
from qstash_server.message import Message, new_message
from qstash_server.options import read_due_ms, read_envelope, read_options
from qstash_server.state import messages
from qstash_server.state.filters import FOR_DLQ, MOST_VALUES, Where, named_alone, read_filters

_MOST = 100
_COLUMNS = f"{messages.MESSAGE_COLUMNS}, dlq_id, response_status, response"
_ALL = Page(count=_MOST, cursor=None, earliest_first=False)


async def list_all(broker: Broker, call: Call) -> Answer:
    page, filters = read_page(call, most=_MOST)
    where = read_filters(filters, FOR_DLQ, time_column="messages.settled_ms")
    rows = await broker.database.read(partial(_select, where=where, page=page))
    entries = [messages.read_dead_letter(row) for row in rows]
    shown = entries[: page.count]
    cursor = shown[-1].dlq_id if len(entries) > page.count else None
    return Answer(body=with_cursor("messages", [wire.dead_letter(e) for e in shown], cursor))


async def get(broker: Broker, call: Call, dlq_id: str) -> Answer:
    rows = await broker.database.read(partial(_select, where=_named(dlq_id), page=_ALL))
    if not rows:
        raise _not_found(dlq_id)
    return Answer(body=wire.dead_letter(messages.read_dead_letter(rows[0])))


async def delete(broker: Broker, call: Call, dlq_id: str) -> Answer:
    forget = partial(messages.forget_dead_letters, where=_named(dlq_id))
    if not await broker.database.write(forget):
        raise _not_found(dlq_id)
    return Answer()


async def delete_many(broker: Broker, call: Call) -> Answer:
    """Delete what the body (`dlqIds`) or filters name, a page of it; never all of it unasked."""
    if not call.query and not call.body:
        raise BadRequest(
            'name the entries: {"dlqIds": ["…"]} in the body, or filters or a count in the query'
        )
    page, where = _selection(call)

    def job(connection: sqlite3.Connection) -> tuple[int, str | None]:
        ids, cursor = _page(connection, where, page)
        return sum(messages.forget_dead_letters(connection, _named(i)) for i in ids), cursor

    deleted, cursor = await broker.database.write(job)
    return Answer(body={"deleted": deleted} | ({"cursor": cursor} if cursor else {}))


async def retry(broker: Broker, call: Call, dlq_id: str) -> Answer:
    """Send one entry again, as a new message."""
    fresh, _ = await _retry(broker, call, _named(dlq_id), _ALL)
    if not fresh:
        raise _not_found(dlq_id)
    return Answer(status=201, body={"messageId": fresh[0].id})


async def retry_many(broker: Broker, call: Call) -> Answer:
    """Send a page of the entries again that are named; the cursor says that there are more."""
    page, where = _selection(call, options_too=True)
    fresh, cursor = await _retry(broker, call, where, page)
    if not fresh and any(name == "dlqIds" for name, _ in call.query + _body_ids(call)):
        raise NotFound("Some messages were not found in the dlq")
    responses = [{"messageId": message.id} for message in fresh]
    return Answer(status=201, body=with_cursor("responses", responses, cursor))


def _selection(call: Call, *, options_too: bool = False) -> tuple[Page, Where]:
    """Return what a bulk operation is about. Ids are taken as they are, however many.

    options_too: whether the query may hold `upstash-` options beside the filters.
    """
    page, filters = read_page(call, most=_MOST)
    if options_too:
        filters = [pair for pair in filters if not pair[0].lower().startswith("upstash-")]
    filters = named_alone(filters + _body_ids(call), "dlqIds")
    if filters and filters[0][0] == "dlqIds":
        page = replace(page, count=MOST_VALUES, cursor=None)
    return page, read_filters(filters, FOR_DLQ, time_column="messages.settled_ms")


def _named(dlq_id: str) -> Where:
    return Where().add("messages.dlq_id = ?", dlq_id)


def _not_found(dlq_id: str) -> NotFound:
    return NotFound(f"dlq message {dlq_id} not found")


def _body_ids(call: Call) -> list[tuple[str, str]]:
    if not call.body:
        return []
    value = call.json()
    ids = value.get("dlqIds") if isinstance(value, dict) else None
    if not isinstance(ids, list):
        raise BadRequest('the body is an object such as {"dlqIds": ["…"]}, or there is none')
    return [("dlqIds", str(dlq_id)) for dlq_id in ids or [""]]


def _page(connection: sqlite3.Connection, where: Where, page: Page) -> tuple[list[str], str | None]:
    """Return the ids of a page, and its cursor if there are more."""
    rows = _select(connection, where, page, columns="dlq_id, settled_ms, seq")
    ids = [row["dlq_id"] for row in rows[: page.count]]
    return ids, ids[-1] if len(rows) > page.count else None


def _select(
    connection: sqlite3.Connection, where: Where, page: Page, columns: str = _COLUMNS
) -> list[sqlite3.Row]:
    """Return one row more than the page holds when there are more."""
    order, comparison = ("ASC", ">") if page.earliest_first else ("DESC", "<")
    condition, parameters = f"dlq_id IS NOT NULL AND {where}", list(where.parameters)
    if page.cursor is not None:
        condition += f" AND (settled_ms, seq) {comparison} (?, ?)"
        parameters += _position(page.cursor)
    return connection.execute(
        f"SELECT {columns} FROM messages"  # noqa: S608
        f" WHERE {condition} ORDER BY settled_ms {order}, seq {order} LIMIT ?",
        (*parameters, page.count + 1),
    ).fetchall()


def _position(cursor: str) -> tuple[int, int]:
    """Return when the entry came into the DLQ and its number, which its id consists of."""
    settled_ms, _, seq = cursor.partition("-")
    if not (settled_ms.isdigit() and seq.isdigit()):
        raise BadRequest(f"invalid cursor {cursor!r}")
    return int(settled_ms), int(seq)


async def _retry(
    broker: Broker, call: Call, where: Where, page: Page
) -> tuple[list[Message], str | None]:
    """Replace entries by new messages, in one transaction; options of the call override theirs."""
    now_ms = broker.clock.now_ms()
    options = replace(read_options(call.headers, call.query), plain={})
    overrides = read_envelope(options, url="", body=b"", caller_ip=call.caller_ip)
    broker.firewall.check_listed(overrides.callback_urls)

    def renewed(message: Message) -> Message:
        envelope = read_envelope(
            options,
            url=message.envelope.url,
            body=message.envelope.body,
            caller_ip=message.envelope.caller_ip,
            base=message.envelope,
        )
        return new_message(
            envelope,
            now_ms=now_ms,
            due_ms=read_due_ms(options, now_ms),
            schedule_id=message.schedule_id,
            topic=message.topic,
            endpoint=message.endpoint,
        )

    def job(connection: sqlite3.Connection) -> tuple[list[Message], str | None]:
        rows = _select(connection, where, page)
        entries = [messages.read_dead_letter(row) for row in rows[: page.count]]
        fresh = [renewed(entry.message) for entry in entries]
        messages.insert(connection, fresh)
        for entry in entries:
            messages.forget_dead_letters(connection, _named(entry.dlq_id))
        return fresh, entries[-1].dlq_id if len(rows) > page.count else None

    fresh, cursor = await broker.database.write(job)
    broker.scheduler.add(fresh)
    return fresh, cursor
