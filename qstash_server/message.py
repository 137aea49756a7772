"""A message on its way: an envelope, when it goes next and how often it has been tried."""

import os
from dataclasses import dataclass

from qstash_server.envelope import Envelope, Headers


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """A message that waits or is being delivered.

    due_ms: Unix time of the next attempt. not_before_ms: of the first one, as published.
    retried: failed attempts so far. topic and endpoint: the URL group that it was published to, and
    the name of the URL in it. slot: of a callback, the message whose slot in the queue it uses.
    """

    id: str
    envelope: Envelope
    created_ms: int
    not_before_ms: int
    due_ms: int
    retried: int = 0
    schedule_id: str | None = None
    topic: str | None = None
    endpoint: str | None = None
    slot: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A message with a queue or a key, as it is found in the state; slot: None for its own."""

    id: str
    not_before_ms: int
    due_ms: int
    queue: str | None
    slot: str | None
    flow_key: str | None
    retried: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """What came back from the destination.

    status: 0 when there was no answer; `error` then says why.
    """

    status: int
    headers: Headers
    body: bytes
    error: str | None = None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """Return the first value of a header; `name` in canonical case."""
        values = self.headers.get(name)
        return values[0] if values else None


def new_message_id(now_ms: int) -> str:
    """Return a fresh id. Ids sort by their time, which keeps the database's index compact."""
    return f"msg_{now_ms:012x}{os.urandom(12).hex()}"


def new_message(
    envelope: Envelope,
    *,
    now_ms: int,
    due_ms: int,
    schedule_id: str | None = None,
    topic: str | None = None,
    endpoint: str | None = None,
    slot: str | None = None,
) -> Message:
    """Return a message made at `now_ms` that goes out at `due_ms`."""
    return Message(
        id=new_message_id(now_ms),
        envelope=envelope,
        created_ms=now_ms,
        not_before_ms=due_ms,
        due_ms=due_ms,
        schedule_id=schedule_id,
        topic=topic,
        endpoint=endpoint,
        slot=slot,
    )
