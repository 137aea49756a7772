"""What users did themselves: what they have seen, and what their vectors were made of."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from django.conf import settings

from recommendations.core.actions import Actions
from recommendations.core.arrays import FloatArray
from recommendations.core.contributions import Contributions
from recommendations.core.interactions import Interactions
from recommendations.core.model import item_item_rows
from recommendations.models import UserAction
from recommendations.versions import LearnedVersion


class Own(NamedTuple):
    item_id: str
    action: str
    occurred_at: datetime


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnItems:
    """The items that a user's vector is made of, and what each of them adds to it.

    item_ids: (n,). actions: (n,) the kind of the last action on each that says a liking, "" where
        there is none. parts: (n, k), whose sum is the vector.
    """

    item_ids: list[str]
    actions: list[str]
    parts: FloatArray
    beside: Interactions


def read_own(user_ids: Sequence[str]) -> dict[str, list[Own]]:
    """Everything that these users did, oldest first, in one query."""
    found: dict[str, list[Own]] = {user_id: [] for user_id in user_ids}
    rows = (
        UserAction.objects.filter(user_id__in=user_ids)
        .order_by("user_id", "occurred_at", "pk")
        .values_list("user_id", "item_id", "action", "occurred_at")
    )
    for user_id, item_id, action, occurred_at in rows:
        found[user_id].append(Own(item_id, action, occurred_at))
    return found


def seen(own: Iterable[Own]) -> list[str]:
    """Every item that a user did anything with, a dismissal included."""
    return list(dict.fromkeys(action.item_id for action in own))


class OwnReader:
    """Takes users' vectors apart, for one version; it prepares what all users have in common."""

    def __init__(self, version: LearnedVersion) -> None:
        self.version = version
        # An item with a vector from its text alone is in nobody's vector.
        touched = version.model.touched
        self._learned_rows = {name: row for name, row in version.rows.items() if touched[row]}
        self._contributions = Contributions(version.model.item_factors, version.model.penalty)

    def own_items(self, own: Sequence[Own]) -> OwnItems:
        """own: the actions of one user, oldest first. Items that the version does not know are left out."""
        actions = self._known(own)
        row = Interactions.from_actions(actions, self.version.model.parameters.fold_in)
        likings = {}
        for action in own:
            if settings.ACTION_WEIGHTS.get(action.action, 0) > 0:
                likings[action.item_id] = action.action
        item_ids = [self.version.item_ids[column] for column in row.columns]
        return OwnItems(
            item_ids=item_ids,
            actions=[likings.get(item_id, "") for item_id in item_ids],
            parts=self._contributions.of(row),
            beside=item_item_rows(actions, self.version.model.parameters.item_item_fold_in),
        )

    def _known(self, own: Sequence[Own]) -> Actions:
        rows, weights = self.version.rows, settings.ACTION_WEIGHTS
        known = [action for action in own if action.item_id in rows and weights.get(action.action)]
        return Actions(
            users=np.zeros(len(known), dtype=np.int64),
            items=np.array([rows[action.item_id] for action in known], dtype=np.int64),
            strengths=np.array([weights[action.action] for action in known], dtype=np.float64),
            times_s=np.array([action.occurred_at.timestamp() for action in known]),
            n_users=1,
            n_items=len(self.version.model.item_factors),
        )


@functools.lru_cache(maxsize=1)
def own_reader(version: LearnedVersion) -> OwnReader:
    """The one of a version, kept as long as the version is active."""
    return OwnReader(version)
