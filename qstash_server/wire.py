"""How things look in the answers of the API, redaction included."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from qstash_server.envelope import Callback, Envelope, Headers
from qstash_server.message import Message
from qstash_server.schedule import Schedule
from qstash_server.state.messages import DeadLetter

Json = dict[str, Any]

_SCHEDULE_STATES = {"waiting": "IN_PROGRESS", "delivered": "SUCCESS"}


def message(message: Message) -> Json:
    """A message; times are Unix milliseconds, keys without a value are absent."""
    return _without_none(
        {
            "messageId": message.id,
            "url": message.envelope.url,
            "method": message.envelope.method,
            "maxRetries": message.envelope.retries,
            "notBefore": message.not_before_ms,
            "createdAt": message.created_ms,
            "scheduleId": message.schedule_id,
            **_common(message.envelope),
            **_body(message.envelope),
        }
    )


def dead_letter(entry: DeadLetter) -> Json:
    response = entry.response
    fields = {
        **message(entry.message),
        "dlqId": entry.dlq_id,
        "responseStatus": response.status,
        "responseHeader": response.headers or None,
        "error": response.error,
        **_text("responseBody", response.body),
    }
    return _without_none(fields)


def schedule(schedule: Schedule, states: Mapping[str, str]) -> Json:
    """states: of the messages of the last firing, as they stand in the state."""
    last = {
        message_id: _SCHEDULE_STATES.get(states[message_id], "FAIL")
        for message_id in schedule.last_messages
        if message_id in states
    }
    return _without_none(
        {
            "scheduleId": schedule.id,
            "destination": schedule.envelope.url,
            "cron": schedule.cron,
            "createdAt": schedule.created_ms,
            "method": schedule.envelope.method,
            "retries": schedule.envelope.retries,
            "delay": schedule.delay_s or None,
            "timeout": schedule.envelope.timeout_s,
            "isPaused": schedule.paused,
            "lastScheduleTime": schedule.last_ms,
            "nextScheduleTime": schedule.next_ms,
            "lastScheduleStates": last or None,
            **_common(schedule.envelope),
            **_body(schedule.envelope),
        }
    )


def event(envelope: Envelope, fields: Json) -> Json:
    """One line of the log. fields: what this event alone has; timeout is in milliseconds."""
    body = envelope.body
    redacted = _redacts(envelope, "body")
    common = _common(envelope)
    return _without_none(
        {
            "url": envelope.url,
            "method": envelope.method,
            "maxRetries": envelope.retries,
            "timeout": envelope.timeout_s and envelope.timeout_s * 1000,
            "retryDelayExpr": envelope.retry_delay,
            "body": _digest(body) if redacted else base64.b64encode(body).decode() or None,
            **common,
            "callbackHeaders": common["callbackHeader"],
            "failureCallbackHeaders": common["failureCallbackHeader"],
            **fields,
        }
    )


def _common(envelope: Envelope) -> Json:
    """What messages, schedules and events all have. OpenAPI and SDK spell some of it differently."""
    return {
        "header": _headers(envelope, envelope.headers),
        "callback": envelope.callback and envelope.callback.url,
        "callbackHeader": _callback_headers(envelope, envelope.callback),
        "failureCallback": envelope.failure_callback and envelope.failure_callback.url,
        "failureCallbackHeader": _callback_headers(envelope, envelope.failure_callback),
        "callerIP": envelope.caller_ip,
        "callerIp": envelope.caller_ip,
        "retryDelayExpression": envelope.retry_delay,
        "label": envelope.labels[0] if envelope.labels else None,
        "labels": list(envelope.labels) or None,
    }


def _callback_headers(envelope: Envelope, callback: Callback | None) -> Headers | None:
    return None if callback is None else _headers(envelope, callback.headers)


def _headers(envelope: Envelope, headers: Headers) -> Headers | None:
    everything = _redacts(envelope, "header") or _redacts(envelope, "headers")
    shown = {
        name: [_digest(value.encode()) for value in values]
        if everything or _redacts(envelope, f"header[{name.lower()}]")
        else values
        for name, values in headers.items()
    }
    return shown or None


def _body(envelope: Envelope) -> Json:
    if _redacts(envelope, "body"):
        return {"body": _digest(envelope.body)}
    return _text("body", envelope.body)


def _text(name: str, value: bytes) -> Json:
    """Bytes as text where they are UTF-8, else as base64 under a name that says so."""
    if not value:
        return {}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}Base64": base64.b64encode(value).decode()}


def _redacts(envelope: Envelope, item: str) -> bool:
    return item in envelope.redact


def _digest(value: bytes) -> str:
    return "REDACTED:" + hashlib.sha256(value).hexdigest()


def _without_none(fields: Json) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
