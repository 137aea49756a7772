"""Entries of the queue that are no actions: how they are shown, and how they get another chance."""

import json
from collections.abc import Sequence

from django.db import transaction
from django.db.models import QuerySet

from recommendations import queue
from recommendations.actions import ActionRefused, parse
from recommendations.forgetting import forget_nobody_meanwhile
from recommendations.models import QuarantinedAction

PUT_BACK_AT_A_TIME = 1_000


def shown(action: QuarantinedAction, limit: int) -> str:
    """The entry as text, of which everything can be seen; at most so many characters of it."""
    # A letter takes up to four bytes.
    text = bytes(action.raw[: 4 * limit]).decode(errors="backslashreplace")
    whole = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)
    return whole if len(whole) <= limit else f"{whole[:limit]}…"


def put_back(chosen: QuerySet[QuarantinedAction]) -> int:
    """Move entries into the queue again, for instance once their kind of action is known. Returns
    how many there were.
    """
    # Numbered first: what is refused again meanwhile comes back as another row.
    pks = list(chosen.order_by("pk").values_list("pk", flat=True))
    return sum(
        _move(pks[start : start + PUT_BACK_AT_A_TIME])
        for start in range(0, len(pks), PUT_BACK_AT_A_TIME)
    )


def _move(pks: Sequence[int]) -> int:
    with transaction.atomic():
        forget_nobody_meanwhile()
        rows = QuarantinedAction.objects.filter(pk__in=pks)
        # Pushed before the commit: if this process dies in between, they are in both places, and
        # a second push counts once because of their ids. What is no object can carry none, and at
        # worst comes back twice.
        queue.push_raw([_with_id(row) for row in rows])
        return rows.delete()[0]


def _with_id(row: QuarantinedAction) -> bytes:
    """The entry, with the id that it got on its way unless it has one."""
    raw = bytes(row.raw)
    try:
        entry = parse(raw)
    except ActionRefused:
        return raw
    if not isinstance(entry, dict) or entry.get("id") is not None:
        return raw
    return json.dumps({**entry, "id": row.entry_id}).encode()


def _escaped(letter: str) -> str:
    return letter if letter == "\n" else letter.encode("unicode_escape").decode()
