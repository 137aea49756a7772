"""Callbacks: messages of our own that report how an attempt went."""

import base64
import json
from typing import Any

from qstash_server.dispatch.outcome import Failed, Outcome
from qstash_server.envelope import Callback, Envelope
from qstash_server.message import Message, Response, new_message


def follow_up(
    message: Message, response: Response, outcome: Outcome, *, dlq_id: str | None, now_ms: int
) -> list[Message]:
    """Return the messages that an attempt gives rise to.

    The callback reports every attempt, the failure callback only that no further one will come.
    A callback itself has no callbacks, so this ends.
    """
    envelope = message.envelope
    reports = [envelope.callback]
    if isinstance(outcome, Failed):
        reports.append(envelope.failure_callback)
    payload = _payload(message, response)
    if dlq_id is not None:
        payload["dlqId"] = dlq_id
    body = json.dumps(payload).encode()
    slot = (message.slot or message.id) if envelope.queue is not None else None
    return [
        new_message(_envelope(callback, message, body), now_ms=now_ms, due_ms=now_ms, slot=slot)
        for callback in reports
        if callback is not None
    ]


def _envelope(callback: Callback, message: Message, body: bytes) -> Envelope:
    source = message.envelope
    return Envelope(
        url=callback.url,
        method=callback.method,
        headers={"Content-Type": ["application/json"], **callback.headers},
        body=body,
        retries=source.retries if callback.retries is None else callback.retries,
        retry_delay=callback.retry_delay or source.retry_delay,
        timeout_s=callback.timeout_s or source.timeout_s,
        callback=None,
        failure_callback=None,
        labels=source.labels,
        # The report holds body and headers of the source, so it is hidden as a whole.
        redact=(*source.redact, "body") if source.redact else (),
        caller_ip=source.caller_ip,
        queue=source.queue,
    )


def _payload(message: Message, response: Response) -> dict[str, Any]:
    """Return the documented fields (docs: qstash/features/callbacks). Bodies are base64."""
    envelope = message.envelope
    payload: dict[str, Any] = {
        "status": response.status,
        "header": response.headers,
        "body": base64.b64encode(response.body).decode(),
        "retried": message.retried,
        "maxRetries": envelope.retries,
        "sourceMessageId": message.id,
        "url": envelope.url,
        "method": envelope.method,
        "sourceHeader": envelope.headers,
        "sourceBody": base64.b64encode(envelope.body).decode(),
        # Strings, as the documentation shows them.
        "notBefore": str(message.not_before_ms),
        "createdAt": str(message.created_ms),
        "callerIP": envelope.caller_ip,
    }
    optional = {
        "scheduleId": message.schedule_id,
        "topicName": message.topic,
        "endpointName": message.endpoint,
        "queueName": envelope.queue,
        "error": response.error,
    }
    return payload | {name: value for name, value in optional.items() if value is not None}
