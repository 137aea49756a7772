"""GET /v2/events and /v2/logs: what happened to the messages."""

import json
import sqlite3

from qstash_server import wire
from qstash_server.api.page import read_page, with_cursor
from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.errors import BadRequest
from qstash_server.state import events
from qstash_server.state.filters import FOR_EVENTS, read_filters
from qstash_server.state.messages import MESSAGE_COLUMNS, read_message

_MOST_EVENTS = 1000
_MOST_LOGS = 100


async def list_events(broker: Broker, call: Call) -> Answer:
    return await _list(broker, call, "events", _MOST_EVENTS)


async def list_logs(broker: Broker, call: Call) -> Answer:
    return await _list(broker, call, "logs", _MOST_LOGS)


async def _list(broker: Broker, call: Call, name: str, most: int) -> Answer:
    page, filters = read_page(call, most=most)
    pairs = [pair for name_, value in filters for pair in _states(name_, value)]
    where = read_filters(pairs, FOR_EVENTS, time_column="events.time_ms")
    if page.cursor is not None:
        if not page.cursor.isdigit():
            raise BadRequest(f"invalid cursor {page.cursor!r}")
        where.add(f"events.seq {'>' if page.earliest_first else '<'} ?", int(page.cursor))

    def job(connection: sqlite3.Connection) -> list[sqlite3.Row]:
        return connection.execute(
            f"SELECT {MESSAGE_COLUMNS}, events.seq AS event_seq, events.time_ms, events.state,"  # noqa: S608
            " events.detail FROM events JOIN messages ON messages.seq = events.message_seq"
            f" WHERE {where} ORDER BY events.seq {'ASC' if page.earliest_first else 'DESC'}"
            " LIMIT ?",
            (*where.parameters, page.count + 1),
        ).fetchall()

    rows = await broker.database.read(job)
    shown = rows[: page.count]
    cursor = str(shown[-1]["event_seq"]) if len(rows) > page.count else None
    return Answer(body=with_cursor(name, [_event(row) for row in shown], cursor))


def _event(row: sqlite3.Row) -> wire.Json:
    message = read_message(row)
    fields = {
        "time": row["time_ms"],
        "messageId": message.id,
        "state": row["state"],
        "scheduleId": message.schedule_id,
        "topicName": message.topic,
        "endpointName": message.endpoint,
        **(json.loads(row["detail"]) if row["detail"] else {}),
    }
    if "responseHeader" in fields:
        fields["responseHeaders"] = fields["responseHeader"]
    return wire.event(message.envelope, fields)


def _states(name: str, text: str) -> list[tuple[str, str]]:
    """Spell out a filter on the state; other filters stay as they are."""
    if name != "state":
        return [(name, text)]
    names: list[str] = []
    for state in text.upper().split(","):
        if state == "IN_PROGRESS":
            names += events.IN_PROGRESS
        elif state == "CANCELLED":  # The documentation's spelling; the SDKs have one L.
            names.append("CANCELED")
        elif state in events.STATES:
            names.append(state)
        else:
            raise BadRequest(f"unknown state {state!r}; known are {', '.join(events.STATES)}")
    return [("state", state) for state in names]
