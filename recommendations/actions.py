"""What an action looks like when it comes in, and what is wrong with one that does not."""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings

from recommendations.models import MAX_ID_LENGTH

#: Clocks of other machines may be ahead by this much.
CLOCK_SKEW = timedelta(minutes=5)
#: Nothing that this is about happened earlier, and PostgreSQL reaches further back than Python.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
MAX_SHOWN = 60
DECODER = json.JSONDecoder()


class Action(NamedTuple):
    """An action that can be stored; a tuple, because there are very many."""

    action_id: str
    user_id: str
    item_id: str
    action: str
    occurred_at: datetime


class ActionRefused(Exception):
    """It cannot be stored, for a reason that its message tells to the producer."""


class Rules(NamedTuple):
    """What holds for all actions that are read now. latest: when one may have happened."""

    kinds: Collection[str]
    latest: datetime


def rules() -> Rules:
    """Look up the rules, once for many actions."""
    kinds = frozenset(settings.ACTION_WEIGHTS)
    return Rules(kinds=kinds, latest=datetime.now(UTC) + CLOCK_SKEW)


def parse(raw: bytes) -> Any:
    """Read an entry of the queue as JSON. Raises ActionRefused."""
    try:
        text = raw.decode()
        # json.loads() looks for blanks around first, which takes as long as the reading.
        with suppress(ValueError):
            entry, end = DECODER.raw_decode(text)
            if end == len(text):
                return entry
        return json.loads(text)
    except UnicodeError as error:
        raise ActionRefused("It is not text in UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise ActionRefused(f"It is not JSON: {error}.") from error


def read_action(entry: Any, rules: Rules, *, spare_id: str) -> Action:
    """Turn an object of JSON into an action. Other fields than those of an action do no harm.

    spare_id: the id of an action that has none of its own.
    Raises ActionRefused.
    """
    if not isinstance(entry, dict):
        raise ActionRefused("An action must be a JSON object.")
    kind = entry.get("action")
    # A list or an object cannot be looked up.
    if not isinstance(kind, str) or kind not in rules.kinds:
        raise ActionRefused(_about_kind(entry, rules))
    return Action(
        _text(entry, "id") if entry.get("id") is not None else spare_id,
        _text(entry, "user_id"),
        _text(entry, "item_id"),
        kind,
        _time(entry, rules.latest),
    )


def user_of(entry: Any) -> str:
    """Whom an entry seems to be about, whatever else is wrong with it; "" if that is not said."""
    user_id = entry.get("user_id") if isinstance(entry, dict) else None
    text = str(user_id)[:MAX_ID_LENGTH] if isinstance(user_id, str | int) else ""
    return "" if _fault_of(text) else text


def is_about(raw: bytes, user_id: str) -> bool:
    """Whether an entry of the queue is about a user. One that is no JSON is, if it quotes the id."""
    try:
        return user_of(parse(raw)) == user_id
    except ActionRefused:
        quoted = (json.dumps(user_id), json.dumps(user_id, ensure_ascii=False))
        return any(text.encode(errors="surrogatepass") in raw for text in quoted)


def _about_kind(entry: Mapping[str, Any], rules: Rules) -> str:
    if "action" not in entry:
        return "'action' is missing."
    known = ", ".join(sorted(rules.kinds))
    return f"'action' is {_shown(entry['action'])}; known are {known}."


def _text(entry: Mapping[str, Any], name: str) -> str:
    text = entry.get(name)
    if isinstance(text, str):
        # Nearly all are such, and what is plain ASCII holds no surrogates.
        if 0 < len(text) <= MAX_ID_LENGTH and text.isascii() and "\x00" not in text:
            return text
    elif name not in entry:
        raise ActionRefused(f"{name!r} is missing.")
    if not isinstance(text, str):
        raise ActionRefused(f"{name!r} must be a text, not {_shown(text)}.")
    if fault := _fault_of(text):
        raise ActionRefused(f"{name!r} {fault}")
    return text


def _fault_of(text: str) -> str:
    """What keeps PostgreSQL from holding this text as an id, or ""."""
    if not text:
        return "is empty."
    if len(text) > MAX_ID_LENGTH:
        return f"has {len(text)} characters; at most {MAX_ID_LENGTH} are kept."
    if "\x00" in text:
        return "holds a zero byte."
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "holds half of a surrogate pair."
    return ""


def _time(entry: Mapping[str, Any], latest: datetime) -> datetime:
    text = entry.get("occurred_at")
    if not isinstance(text, str):
        said = f"not {_shown(text)}" if "occurred_at" in entry else "and is missing"
        raise ActionRefused(f"'occurred_at' must be a text like 2026-02-07T10:30:00Z, {said}.")
    try:
        occurred_at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ActionRefused(
            f"'occurred_at' is {_shown(text)}; write it like 2026-02-07T10:30:00Z."
        ) from error
    if occurred_at.tzinfo is None:
        raise ActionRefused("'occurred_at' lacks its offset from UTC; end it with Z or +01:00.")
    if not EARLIEST <= occurred_at <= latest:
        side = "in the future" if occurred_at > latest else f"before {EARLIEST.year}"
        raise ActionRefused(f"'occurred_at' is {side}: {_shown(text)}.")
    # An offset may have seconds, which PostgreSQL reads in another form than Python writes.
    return occurred_at.astimezone(UTC)


def _shown(value: Any) -> str:
    # As JSON, in which the producer wrote it, and in ASCII, which every log and table holds.
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
