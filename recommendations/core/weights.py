"""How much an action says about taste: by its kind, its age and its position."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recommendations.core.actions import DAY_S, Actions
from recommendations.core.arrays import FloatArray, IntArray

# Mild on purpose: what a user did counts far more than how. Below 0 is a dismissal, which says
# as much as a like, about the opposite.
KIND_STRENGTHS: Mapping[str, float] = {
    "view": 1.0,
    "click": 1.0,
    "share": 1.5,
    "like": 1.5,
    "save": 1.5,
    "purchase": 2.0,
    "dismiss": -1.5,
}


@dataclass(frozen=True, kw_only=True)
class Recency:
    """How the weight of an action falls with what the same user did since.

    half_life_s: seconds before the user's last action after which half is left; None for never.
    position_scale: exp(-position / scale), where 0 is the user's latest; None for never.
    floor: what is left of the oldest action, so that nothing is forgotten entirely.
    """

    half_life_s: float | None = None
    position_scale: float | None = None
    floor: float = 0.02

    def __str__(self) -> str:
        if self.half_life_s is not None:
            return f"half-life {self.half_life_s / DAY_S:g} d"
        if self.position_scale is not None:
            return f"position {self.position_scale:g}"
        return "none"


EVEN = Recency()


def decay_weights(ages_s: FloatArray, half_life_s: float) -> FloatArray:
    """Weight actions by age: 1 when new, 0.5 after one half-life.

    ages_s: (n,) seconds since each action, >= 0; n may be 0.
    half_life_s: seconds, > 0.
    Returns (n,) float64 in [0, 1]; very old actions underflow to 0.
    Raises ValueError for half_life_s <= 0 or a negative or NaN age.
    Source: exponential decay, w = 2 ** (-age / half_life).
    """
    if not half_life_s > 0:
        raise ValueError("half_life_s must be above 0.")
    if not np.all(ages_s >= 0):
        raise ValueError("An age is negative or not a number.")
    return np.exp2(-np.asarray(ages_s, dtype=np.float64) / half_life_s)


def position_weights(positions: IntArray, scale: float) -> FloatArray:
    """Weight actions by order: 1 for a user's latest (position 0), 1/e after scale more.

    Raises ValueError for scale <= 0.
    """
    if not scale > 0:
        raise ValueError("scale must be above 0.")
    weights: FloatArray = np.exp(-np.asarray(positions, dtype=np.float64) / scale)
    return weights


def recency_weights(actions: Actions, recency: Recency) -> FloatArray:
    """(n,) in (0, 1]: the weights of actions by their age, counted from each user's last action.

    Counting from the user's own last action, not from the present, keeps a user's vector what it
    was until the user acts again. Without times every action weighs 1.
    """
    if actions.times_s is None:
        return np.ones(len(actions))
    if recency.half_life_s is not None:
        ages_s = actions.last_times_s()[actions.users] - actions.times_s
        weights = decay_weights(ages_s, recency.half_life_s)
    elif recency.position_scale is not None:
        weights = position_weights(actions.positions(), recency.position_scale)
    else:
        return np.ones(len(actions))
    floored: FloatArray = np.minimum(weights + recency.floor, 1.0)
    return floored
