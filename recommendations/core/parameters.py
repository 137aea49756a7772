"""All that the data decide: what replay chooses, and every later run uses."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from recommendations.core.actions import DAY_S
from recommendations.core.weights import EVEN, Recency


@dataclass(frozen=True, kw_only=True)
class History:
    """Which past teaches how items belong together.

    recency: how a user's older actions count less.
    window: cut histories into overlapping windows of so many actions; 0 for whole histories.
    """

    recency: Recency = EVEN
    window: int = 0

    def __str__(self) -> str:
        return f"windows of {self.window}" if self.window else f"decay {self.recency}"


@dataclass(frozen=True, kw_only=True)
class ScoreWeights:
    """What the parts of a score weigh.

    item_item: the share of the item-to-item model in the personal part, 0 to 1.
    popularity: how much all-time popularity counts against an item that taste already found.
    trend: how much the present trend counts for it. trend_half_life_s: seconds.
    confidence: the number of actions at which a user's own taste weighs 1/sqrt(2).
    trend_floor: added to the trend, so that an item without one can still be compared.
    """

    item_item: float = 0.0
    popularity: float = 1.25
    trend: float = 2.5
    trend_half_life_s: float = 7 * DAY_S
    confidence: float = 40.0
    trend_floor: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The values of one product; the defaults are those of an ordinary shop.

    factors: length of the vectors. epochs: sweeps from scratch.
    unobserved, ridge: the multiples of ials.Penalty.scaled.
    history: what the factors are trained on. fold_in: how a user's actions count in the own vector.
    item_item_ridge, item_item_history: of the item-to-item model.
    item_item_evenness: how much less users with many items count in it; see item_item.row_shares.
    item_item_fold_in: how a user's actions count in its scores.
    trending_half_life_s: seconds, for the list of what is trending, which strangers get.
    score: weights of the parts of a personal list.
    personal_from: fewest items that a user must have acted on for a personal list.
    """

    factors: int = 64
    epochs: int = 16
    unobserved: float = 8.0
    ridge: float = 3.0
    history: History = field(default=History(recency=Recency(half_life_s=90 * DAY_S)))
    fold_in: Recency = field(default=Recency(half_life_s=30 * DAY_S))
    item_item_ridge: float = 300.0
    item_item_history: History = History()
    item_item_evenness: float = 0.0
    item_item_fold_in: Recency = field(default=Recency(half_life_s=30 * DAY_S))
    trending_half_life_s: float = 7 * DAY_S
    score: ScoreWeights = ScoreWeights()
    personal_from: int = 1

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, for storing."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """What as_json made. Raises TypeError for a name that no parameter has."""
        values = dict(stored)
        for name in ("fold_in", "item_item_fold_in"):
            if name in values:
                values[name] = Recency(**values[name])
        for name in ("history", "item_item_history"):
            if name in values:
                values[name] = _history(values[name])
        if "score" in values:
            values["score"] = ScoreWeights(**values["score"])
        return cls(**values)


def _history(stored: Mapping[str, Any]) -> History:
    values = dict(stored)
    if "recency" in values:
        values["recency"] = Recency(**values["recency"])
    return History(**values)
