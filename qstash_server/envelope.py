"""What is delivered, where and how: the part that messages and schedules have in common."""

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from qstash_server.errors import BadRequest
from qstash_server.flow_control import FlowControl

#: Header name in canonical case (Content-Type) to its values in the order in which they came.
Headers = dict[str, list[str]]

DEFAULT_RETRIES = 3
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # Lone surrogates as well.
# Made once: json.dumps with separators makes an encoder for each call.
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, kw_only=True, slots=True)
class Callback:
    """Where the outcome of an attempt is reported, and how that message is sent in turn.

    retries and retry_delay: None takes those of the message it reports on.
    """

    url: str
    method: str
    headers: Headers
    retries: int | None
    retry_delay: str | None
    timeout_s: int | None

    def to_json(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "method": self.method,
            "headers": self.headers,
            "retries": self.retries,
            "retryDelay": self.retry_delay,
            "timeoutS": self.timeout_s,
        }

    @staticmethod
    def from_json(value: dict[str, Any] | None) -> "Callback | None":
        if value is None:
            return None
        return Callback(
            url=value["url"],
            method=value["method"],
            headers=value["headers"],
            retries=value["retries"],
            retry_delay=value["retryDelay"],
            timeout_s=value["timeoutS"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """A request to be made, with everything that decides how often and how long it is tried.

    url: as published; it is the subject of the signature. Of a schedule it may be the name of a URL
    group instead. queue: its name, None outside of queues. retries: attempts after the first.
    retry_delay: an expression, None for the default back-off. timeout_s: None for the server's own.
    redact: the items of `Upstash-Redact-Fields`, in lower case.
    """

    url: str
    method: str
    headers: Headers
    body: bytes
    retries: int
    retry_delay: str | None
    timeout_s: int | None
    callback: Callback | None
    failure_callback: Callback | None
    labels: tuple[str, ...]
    redact: tuple[str, ...]
    caller_ip: str
    queue: str | None = None
    flow: FlowControl | None = None
    _json: str | None = field(default=None, init=False, compare=False, repr=False)

    def with_body(self, body: bytes) -> "Envelope":
        """Return the same for another body; what both are stored as is made only once."""
        other = replace(self, body=body)
        object.__setattr__(other, "_json", self.to_json())
        return other

    @property
    def callback_urls(self) -> list[str]:
        """What else is called because of it."""
        callbacks = (self.callback, self.failure_callback)
        return [callback.url for callback in callbacks if callback is not None]

    def to_json(self) -> str:
        """Return everything but the body, which is bytes and stored beside it."""
        text = self._json
        if text is None:
            text = _encode(self._fields())
            object.__setattr__(self, "_json", text)
        return text

    def _fields(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "method": self.method,
            "headers": self.headers,
            "retries": self.retries,
            "retryDelay": self.retry_delay,
            "timeoutS": self.timeout_s,
            "callback": self.callback and self.callback.to_json(),
            "failureCallback": self.failure_callback and self.failure_callback.to_json(),
            "labels": self.labels,
            "redact": self.redact,
            "callerIp": self.caller_ip,
            "queue": self.queue,
            "flow": self.flow and self.flow.to_json(),
        }

    @staticmethod
    def from_json(text: str, body: bytes) -> "Envelope":
        value = json.loads(text)
        return Envelope(
            url=value["url"],
            method=value["method"],
            headers=value["headers"],
            body=body,
            retries=value["retries"],
            retry_delay=value["retryDelay"],
            timeout_s=value["timeoutS"],
            callback=Callback.from_json(value["callback"]),
            failure_callback=Callback.from_json(value["failureCallback"]),
            labels=tuple(value["labels"]),
            redact=tuple(value["redact"]),
            caller_ip=value["callerIp"],
            # Files written before there were queues and flow control have neither.
            queue=value.get("queue"),
            flow=FlowControl.from_json(value.get("flow")),
        )


def canonical_name(name: str) -> str:
    """Return a header's name as Go writes it: ``test-header`` becomes ``Test-Header``."""
    return "-".join(part.capitalize() for part in name.split("-"))


def check_header(name: str, value: str) -> None:
    """Refuse what could not stand in a header, or would end it. Raises BadRequest.

    Headers come as JSON and as query parameters too, where nothing has looked at them yet.
    """
    if not _TOKEN.fullmatch(name):
        raise BadRequest(f"invalid header name {name!r}")
    if _CONTROL.search(value):
        raise BadRequest(f"invalid value of header {name}: control characters are not allowed")
