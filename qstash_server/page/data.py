"""GET /page/data: what the page shows, in one answer."""

import json
import sqlite3
from collections.abc import Set
from functools import partial
from typing import Any

from qstash_server import wire
from qstash_server.api.schedules import shown
from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.message import Message
from qstash_server.state import messages, overview, schedules

# A URL or a label may be as long as a header; the page needs no more of it than a person reads.
LONGEST_TEXT = 300
_MOST_LABELS = 10
# The page picks from what the API shows, so whatever is redacted there is not here either.
_OF_A_MESSAGE = frozenset(
    "messageId url method maxRetries createdAt scheduleId topicName queueName flowControlKey labels"
    "".split()
)
_OF_A_SCHEDULE = frozenset(
    "scheduleId destination method cron delay isPaused lastScheduleTime nextScheduleTime "
    "lastScheduleStates queueName flowControlKey error labels".split()
)
_OF_AN_EVENT = frozenset("responseStatus error nextDeliveryTime".split())


async def get(broker: Broker, call: Call) -> Answer:
    in_flight = broker.scheduler.in_flight
    data = await broker.database.read(partial(_read, in_flight=in_flight))
    return Answer(body={"now": broker.clock.now_ms(), "counted": overview.COUNTED, **data})


def _read(connection: sqlite3.Connection, in_flight: Set[str]) -> wire.Json:
    waiting = overview.waiting(connection)
    dead_letters = overview.dead_letters(connection)
    firing = overview.schedules(connection)
    return {
        "schedules": _section([_schedule(connection, row) for row in firing.rows], firing.total),
        "waiting": _section([_waiting(row, in_flight) for row in waiting.rows], waiting.total),
        "deadLetters": _section(
            [_dead_letter(row) for row in dead_letters.rows], dead_letters.total
        ),
        "events": {"rows": [_event(row) for row in overview.events(connection)]},
    }


def _section(rows: list[wire.Json], total: int) -> wire.Json:
    return {"rows": rows, "total": total}


def _schedule(connection: sqlite3.Connection, row: sqlite3.Row) -> wire.Json:
    return _pick(shown(connection, schedules.read(row)), _OF_A_SCHEDULE)


def _waiting(row: sqlite3.Row, in_flight: Set[str]) -> wire.Json:
    message = messages.read_message(row)
    return {
        **_message(message),
        "dueAt": message.due_ms,
        "retried": message.retried,
        "isInFlight": message.id in in_flight,
    }


def _dead_letter(row: sqlite3.Row) -> wire.Json:
    message = messages.read_message(row)
    return {
        **_message(message),
        "dlqId": row["dlq_id"],
        "retried": message.retried,
        "failedAt": row["settled_ms"],
        "responseStatus": row["response_status"],
        "error": _short(row["error"]),
    }


def _event(row: sqlite3.Row) -> wire.Json:
    detail = json.loads(row["detail"]) if row["detail"] else {}
    return {
        **_message(messages.read_message(row)),
        **_pick(detail, _OF_AN_EVENT),
        "key": row["event_seq"],
        "time": row["time_ms"],
        "state": row["state"],
    }


def _message(message: Message) -> wire.Json:
    return _pick(wire.message(message), _OF_A_MESSAGE)


def _pick(fields: wire.Json, names: Set[str]) -> wire.Json:
    return {name: _short(value) for name, value in fields.items() if name in names}


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return value[:LONGEST_TEXT] + "…"
    if isinstance(value, list):
        return [_short(item) for item in value[:_MOST_LABELS]]
    return value
