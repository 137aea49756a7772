"""A schedule: an envelope that goes out again and again."""

import re
import secrets
from dataclasses import dataclass

from qstash_server.envelope import Envelope
from qstash_server.errors import BadRequest

_ID = re.compile(r"[A-Za-z0-9._-]{1,256}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """cron: verbatim, without the blanks around it. delay_s: added to each message, not to the cron.

    next_ms: None when it is paused or never fires again. last_messages: ids of the last firing.
    """

    id: str
    envelope: Envelope
    cron: str
    delay_s: int
    created_ms: int
    paused: bool = False
    last_ms: int | None = None
    next_ms: int | None = None
    last_messages: tuple[str, ...] = ()


def new_schedule_id() -> str:
    return "scd_" + secrets.token_hex(14)


def check_schedule_id(text: str) -> str:
    """Return the id unchanged. Raises BadRequest for anything that QStash would not take."""
    if not _ID.fullmatch(text):
        raise BadRequest(
            f"invalid schedule id {text!r}: letters, digits, '-', '_' and '.' are allowed"
        )
    return text
