"""How things look in the answers of the API, redaction included."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from qstash_server.dispatch.throttle import Throttle
from qstash_server.envelope import Callback, Envelope, Headers
from qstash_server.flow_control import FlowControl, FlowKey
from qstash_server.message import Message
from qstash_server.queue import Queue
from qstash_server.schedule import Schedule
from qstash_server.state.messages import DeadLetter
from qstash_server.url_group import UrlGroup

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
            "topicName": message.topic,
            "endpointName": message.endpoint,
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


def schedule(schedule: Schedule, states: Mapping[str, str], error: str | None) -> Json:
    """states: of the messages of the last firing. error: why its next firing would send nothing."""
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
            "error": error,
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
        "queueName": envelope.queue,
        **_flow_control(envelope.flow),
    }


def _flow_control(flow: FlowControl | None) -> Json:
    """The limits that a message came with; those that it does not name are absent."""
    if flow is None:
        return {}
    return {
        "flowControlKey": flow.key,
        "parallelism": flow.parallelism,
        "rate": flow.rate,
        "period": flow.period_s,
    }


def flow_key(key: FlowKey, throttle: Throttle, now_ms: int) -> Json:
    """How things stand for a key. SDKs take numbers alone: 0 means that nothing is limited."""
    start_ms = throttle.rate_period_start_ms(now_ms)
    return {
        "flowControlKey": key.key,
        "waitListSize": throttle.waiting,
        "parallelismMax": key.max_parallelism or 0,
        "parallelismCount": throttle.active,
        "rateMax": key.max_rate or 0,
        "rateCount": throttle.rate_count(now_ms),
        "ratePeriod": key.max_rate_period_s,
        "ratePeriodStart": (start_ms or now_ms) // 1000,
        "isPaused": key.paused,
        "isPinnedParallelism": key.pinned_parallelism is not None,
        "isPinnedRate": key.pinned_rate is not None,
    }


def queue(queue: Queue, lag: int) -> Json:
    return {
        "name": queue.name,
        "parallelism": queue.parallelism,
        "paused": queue.paused,
        "lag": lag,
        "createdAt": queue.created_ms,
        "updatedAt": queue.updated_ms,
    }


def url_group(group: UrlGroup) -> Json:
    return {
        "name": group.name,
        "createdAt": group.created_ms,
        "updatedAt": group.updated_ms,
        "endpoints": [
            _without_none({"name": endpoint.name, "url": endpoint.url})
            for endpoint in group.endpoints
        ],
    }


def _callback_headers(envelope: Envelope, callback: Callback | None) -> Headers | None:
    return None if callback is None else _headers(envelope, callback.headers)


def _headers(envelope: Envelope, headers: Headers) -> Headers | None:
    everything = _redacts(envelope, "header")
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
