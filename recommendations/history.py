"""What users did, from the table of actions to the columns that the engine learns from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection

from recommendations import records
from recommendations.core.actions import Actions
from recommendations.core.arrays import FloatArray

# Bounds the memory of a training; a longer history is cut to its newest actions.
MOST_ACTIONS = 5_000_000

_FIELDS = {"user": ">i4", "item": ">i4", "strength": ">f4", "time_s": ">f8", "id": ">i8"}
# The engine numbers users and items, and names matter to nobody in there. The "C" collation orders by
# bytes, so that the numbers are the same wherever and however often they are given.
_ACTIONS = """
    SELECT users.number::int4, items.number::int4, kinds.strength::float4,
           extract(epoch FROM actions.occurred_at)::float8, actions.id
    FROM user_actions AS actions
    JOIN ({users}) AS users (user_id, number) USING (user_id)
    JOIN ({items}) AS items (item_id, number) USING (item_id)
    JOIN unnest(%(kinds)s::text[], %(strengths)s::float8[]) AS kinds (action, strength) USING (action)
    WHERE actions.id <= %(last_id)s AND actions.occurred_at >= %(since)s
"""
_EVERYBODY = """
    SELECT user_id, row_number() OVER (ORDER BY user_id COLLATE "C")
    FROM user_actions WHERE id <= %(last_id)s GROUP BY user_id
"""
_THESE_USERS = "SELECT * FROM unnest(%(users)s::text[]) WITH ORDINALITY"
_THESE_ITEMS = "SELECT * FROM unnest(%(items)s::text[]) WITH ORDINALITY"
# Grouped, the planner believes that no item comes twice, and hashes them; without that it reads the
# whole table in the order of an index, which takes twice as long.
_EACH_ITEM = """
    SELECT item_id, min(number)
    FROM unnest(%(items)s::text[]) WITH ORDINALITY AS one (item_id, number) GROUP BY item_id
"""
_EVERY_ID = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Totals:
    """How much is stored. last_id: of the newest action, 0 without any."""

    actions: int
    users: int
    last_id: int


def totals() -> Totals:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(actions), 0)::int8, count(*), coalesce(max(last_id), 0) FROM "
            "(SELECT count(*) AS actions, max(id) AS last_id FROM user_actions GROUP BY user_id) AS users"
        )
        actions, users, last_id = cursor.fetchone()
    return Totals(actions=actions, users=users, last_id=last_id)


def item_ids(*, last_id: int) -> list[str]:
    """The items of all actions up to that one, in the order of their bytes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT item_id FROM user_actions WHERE id <= %s GROUP BY item_id "
            'ORDER BY item_id COLLATE "C"',
            [last_id],
        )
        return [item_id for (item_id,) in cursor]


def read_all(items: Sequence[str], *, last_id: int) -> Actions:
    """Everything up to that action, at most the newest MOST_ACTIONS. The items are numbered as given."""
    parameters = {"last_id": last_id, "since": _start_of_history(), "items": list(items)}
    query = _ACTIONS.format(users=_EVERYBODY, items=_EACH_ITEM)
    return _read(query, parameters, n_users=None)


def read_users(items: Sequence[str], users: Sequence[str]) -> Actions:
    """Everything that these users did with these items, both numbered as given."""
    parameters = {
        "last_id": _EVERY_ID, "since": "-infinity", "items": list(items), "users": list(users),
    }  # fmt: skip
    query = _ACTIONS.format(users=_THESE_USERS, items=_THESE_ITEMS)
    return _read(query, parameters, n_users=len(users))


def action_weights() -> dict[str, float]:
    """How much each kind of action says, for storing beside what was learned with it."""
    return {kind: float(weight) for kind, weight in sorted(settings.ACTION_WEIGHTS.items())}


def _start_of_history() -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT occurred_at::text FROM user_actions ORDER BY occurred_at DESC OFFSET %s LIMIT 1",
            [MOST_ACTIONS],
        )
        row = cursor.fetchone()
    return str(row[0]) if row else "-infinity"


def _read(query: str, parameters: Mapping[str, Any], *, n_users: int | None) -> Actions:
    weights = action_weights()
    parameters = {**parameters, "kinds": list(weights), "strengths": list(weights.values())}
    chunks = [_columns(rows) for rows in records.read(query, parameters, _FIELDS)]
    columns = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in _FIELDS}
    # Actions of one instant stay in the order of their arrival, whatever way PostgreSQL read them.
    order = np.argsort(columns.pop("id"), kind="stable")
    users = columns["user"][order].astype(np.int64) - 1
    return Actions(
        users=users,
        items=columns["item"][order].astype(np.int64) - 1,
        strengths=columns["strength"][order].astype(np.float64),
        times_s=columns["time_s"][order],
        n_users=int(users.max(initial=-1)) + 1 if n_users is None else n_users,
        n_items=len(parameters["items"]),
    )


def _columns(rows: records.Records) -> dict[str, FloatArray]:
    """The columns in the machine's own byte order, without the lengths between them."""
    return {name: rows[name].astype(rows.dtype[name].newbyteorder("=")) for name in _FIELDS}
