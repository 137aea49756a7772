"""Filters of the listings and of the bulk operations, as SQL conditions over `messages`.

Values of one filter are alternatives (repeated or joined by commas), different filters add up. A
misspelt name is an error: a bulk delete without its filter would take everything.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from qstash_server.errors import BadRequest

_CONDITIONS = {
    "messageId": "messages.id IN ({})",
    "messageIds": "messages.id IN ({})",
    "dlqId": "messages.dlq_id IN ({})",
    "dlqIds": "messages.dlq_id IN ({})",
    "url": "messages.url IN ({})",
    "host": "url_part(messages.url, 'host') IN ({})",
    "path": "url_part(messages.url, 'path') IN ({})",
    "scheduleId": "messages.schedule_id IN ({})",
    "callerIp": "messages.caller_ip IN ({})",
    "callerIP": "messages.caller_ip IN ({})",
    "responseStatus": "CAST(messages.response_status AS TEXT) IN ({})",
    "label": "EXISTS (SELECT 1 FROM json_each(messages.labels) WHERE value IN ({}))",
    "state": "events.state IN ({})",
    "topicName": "messages.topic IN ({})",
    "queueName": "messages.queue IN ({})",
    "flowControlKey": "messages.flow_key IN ({})",
}
# SQLite binds 32,766 values in one statement.
MOST_VALUES = 10_000
_ONE_VALUE = ("url", "path")  # A comma may be part of these.
_COMMON = frozenset(
    "messageId url host path scheduleId callerIp callerIP label topicName queueName flowControlKey"
    " fromDate toDate".split()
)
FOR_EVENTS = _COMMON | {"messageIds", "state"}
FOR_DLQ = _COMMON | {"dlqIds", "dlqId", "responseStatus"}
FOR_MESSAGES = _COMMON | {"messageIds"}


@dataclass(kw_only=True)
class Where:
    """The condition of a WHERE clause and its parameters; without a part it is always true."""

    parts: list[str] = field(default_factory=list)
    parameters: list[str | int] = field(default_factory=list)

    def add(self, part: str, *parameters: str | int) -> "Where":
        self.parts.append(f"({part})")
        self.parameters.extend(parameters)
        return self

    def __str__(self) -> str:
        return " AND ".join(self.parts) or "1"


def named_alone(pairs: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    """Return the ids alone when there are any: who names them wants those, whatever else is said."""
    return [pair for pair in pairs if pair[0] == name] or pairs


def read_filters(
    pairs: Iterable[tuple[str, str]], allowed: frozenset[str], *, time_column: str
) -> Where:
    """Return the condition for the filters in `pairs`. Raises BadRequest for an unknown one."""
    values: dict[str, list[str]] = {}
    for name, text in pairs:
        if name not in allowed:
            raise BadRequest(f"unknown filter {name!r}; known are {', '.join(sorted(allowed))}")
        values.setdefault(name, []).extend([text] if name in _ONE_VALUE else text.split(","))
    where = Where()
    for name, alternatives in values.items():
        if name == "fromDate":
            where.add(f"{time_column} >= ?", max(_number(name, text) for text in alternatives))
        elif name == "toDate":
            where.add(f"{time_column} <= ?", min(_number(name, text) for text in alternatives))
        else:
            _check_count(name, alternatives)
            marks = ", ".join("?" * len(alternatives))
            where.add(_CONDITIONS[name].format(marks), *alternatives)
    return where


def _check_count(name: str, alternatives: list[str]) -> None:
    if len(alternatives) > MOST_VALUES:
        raise BadRequest(
            f"{name} has {len(alternatives)} values; {MOST_VALUES} are allowed at once"
        )


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest(f"invalid {name} {text!r}: Unix time in milliseconds")
    return int(text)


def url_part(url: str, part: str) -> str | None:
    """The SQL function behind the filters on host and path."""
    parts = urlsplit(url)
    return parts.hostname if part == "host" else parts.path
