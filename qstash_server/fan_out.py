"""From one envelope to the messages that carry it out."""

from dataclasses import replace
from functools import partial

from qstash_server.envelope import Envelope
from qstash_server.message import Message, new_message
from qstash_server.url_group import UrlGroup


def fan_out(
    envelope: Envelope,
    group: UrlGroup | None,
    *,
    now_ms: int,
    due_ms: int,
    schedule_id: str | None = None,
) -> list[Message]:
    """Return a message for each URL of a group, or the one for a URL."""
    if group is None:
        return [new_message(envelope, now_ms=now_ms, due_ms=due_ms, schedule_id=schedule_id)]
    make = partial(new_message, now_ms=now_ms, due_ms=due_ms, schedule_id=schedule_id)
    return [
        make(replace(envelope, url=endpoint.url), topic=group.name, endpoint=endpoint.name)
        for endpoint in group.endpoints
    ]
