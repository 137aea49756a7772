"""Who a list is for: what the active version knows of a user, and whether that is enough."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
from django.conf import settings
from django.db.models import FilteredRelation, Q

from recommendations.core.arranging import Shares
from recommendations.core.arrays import FloatArray
from recommendations.core.parameters import Parameters
from recommendations.models import FactorVersion, UserEmbedding


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """A user's vector. items_used: on how many items the user had acted. spread: see UserEmbedding."""

    vector: FloatArray
    items_used: int
    spread: float
    updated_at: datetime

    @classmethod
    def of(cls, row: UserEmbedding) -> Self:
        return cls(
            vector=np.array(row.vector, dtype=np.float32),
            items_used=row.items_used,
            spread=row.spread,
            updated_at=row.updated_at,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """user_id: "" for somebody unknown. version_id: None before the first training.

    embedding: None where the active version has no vector of the user.
    """

    user_id: str
    version_id: int | None
    parameters: Parameters
    shares: Shares
    embedding: Embedding | None

    @property
    def is_personal(self) -> bool:
        return not self.why_not_personal

    @property
    def why_not_personal(self) -> str:
        """In words; "" for somebody who gets a personal list."""
        if self.version_id is None:
            return "Nothing has been learned yet."
        if not self.user_id:
            return "No user_id was given."
        if self.embedding is None:
            return "Nothing has been learned about this user yet."
        needed, known = self.parameters.personal_from, self.embedding.items_used
        if known < needed:
            return (
                f"This user acted on {known} items; in the replay of this installation's history, personal "
                f"lists are better than trending from {needed} items on."
            )
        return ""


def find_reader(user_id: str) -> Reader:
    """One query: the active version, and the user's vector in it."""
    version = (
        FactorVersion.objects.filter(status=FactorVersion.Status.ACTIVE)
        .annotate(own=FilteredRelation("users", condition=Q(users__user_id=user_id)))
        .values_list(
            "pk", "parameters", "figures",
            "own__vector", "own__items_used", "own__spread", "own__updated_at",
        )
        .first()
    )  # fmt: skip
    if version is None:
        return Reader(
            user_id=user_id,
            version_id=None,
            parameters=Parameters(),
            shares=shares_of({}),
            embedding=None,
        )
    version_id, parameters, figures, vector, items_used, spread, updated_at = version
    embedding = None
    if vector is not None:
        embedding = Embedding(
            vector=np.array(vector, dtype=np.float32),
            items_used=items_used,
            spread=spread,
            updated_at=updated_at,
        )
    return Reader(
        user_id=user_id,
        version_id=version_id,
        parameters=Parameters.from_json(parameters),
        shares=shares_of(figures),
        embedding=embedding,
    )


def shares_of(figures: dict[str, object]) -> Shares:
    """The owner's settings, else what replay chose, else the defaults."""
    chosen = figures.get("shares")
    replayed = Shares(**chosen) if isinstance(chosen, dict) else Shares()
    exploration = settings.RECOMMEND_EXPLORATION_SHARE
    topic = settings.RECOMMEND_TOPIC_SHARE
    return Shares(
        exploration=replayed.exploration if exploration is None else exploration,
        topic=replayed.topic if topic is None else topic,
    )
