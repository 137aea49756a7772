"""Stored history played again: what was known at a cut, and what users took after it."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from recommendations.core.actions import Actions
from recommendations.core.arrays import BoolArray, FloatArray, IntArray
from recommendations.core.interactions import Interactions
from recommendations.core.weights import EVEN

# More users make the choice of parameters slower, and hardly better.
MOST_USERS = 2_000
CUTS = 3
# The tastes of a replay's users are held as one number for each item: 80 MB.
MOST_SCORES = 20_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """known: the actions up to the cut. users: (n,) whose lists are judged.

    targets: n rows by items, what they took after the cut and never before.
    at_s: the present at the cut.
    """

    known: Actions
    users: IntArray
    targets: Interactions
    at_s: float

    @classmethod
    def split(
        cls,
        actions: Actions,
        later: BoolArray,
        *,
        most_users: int = MOST_USERS,
        untouched: bool = False,
    ) -> Self:
        """Judge by the actions marked later; all others are known.

        A target is a (user, item) pair that is new, whose user is known; its item is known too, or,
        with untouched, is one that nobody had touched by then.
        """
        known = actions.take(~later)
        after = actions.take(later & (actions.strengths > 0))
        seen = Interactions.from_actions(known, EVEN)
        counted = seen.lengths[after.users] > 0
        if not untouched:
            counted &= np.bincount(known.items, minlength=actions.n_items)[after.items] > 0
        counted &= ~seen.contain(after.users, after.items)
        after = after.take(counted)
        most = min(most_users, MOST_SCORES // max(1, actions.n_items))
        users = _sample(np.unique(after.users), most)
        pairs = Interactions.from_pairs(
            after.users,
            after.items,
            np.ones(len(after)),
            shape=(actions.n_users, actions.n_items),
        )
        times_s = known.times_s
        at_s = float(times_s.max()) if times_s is not None and len(times_s) else 0.0
        return cls(known=known, users=users, targets=pairs.take(users), at_s=at_s)


def _sample(users: IntArray, most: int) -> IntArray:
    if len(users) <= most:
        return users
    return np.sort(np.random.default_rng(0).choice(users, most, replace=False))


def after_time(actions: Actions, *, share: float = 0.1) -> BoolArray:
    """Mark the last share of the actions by time: everything from the time of the first of them.

    Raises ValueError without times.
    """
    if actions.times_s is None:
        raise ValueError("Actions without times have no order.")
    if not len(actions):
        return np.zeros(0, dtype=bool)
    ordered = np.sort(actions.times_s)
    cut_s = ordered[min(len(ordered) - 1, int(len(ordered) * (1 - share)))]
    later: BoolArray = actions.times_s >= cut_s
    return later


def last_of_users(actions: Actions, users: IntArray) -> BoolArray:
    """Mark the last action of each of the users."""
    last: BoolArray = (actions.positions() == 0) & np.isin(actions.users, users)
    return last


def random_share(actions: Actions, *, share: float = 0.1, seed: int = 0) -> BoolArray:
    """Mark a share of the actions by chance."""
    return np.random.default_rng(seed).random(len(actions)) < share


def replays_for(actions: Actions, users: IntArray) -> list[Replay]:
    """The replays that resemble lists for these users at the end of the actions, the latest first.

    Lists may be wanted for those who act next, or for everybody who ever acted; and who acts next
    was seldom idle for long. So the cuts are by time where the users asked for were about as idle as
    those who acted after such a cut, and at each user's last action where they are like everybody.
    There are several cuts in time, because all users of one share what happens to trend at it.
    """
    if actions.times_s is None:
        return [Replay.split(actions, random_share(actions))]
    by_time = replays_by_time(actions)
    everybody = np.unique(actions.users)
    judged = np.intersect1d(users, everybody)
    at_s = float(actions.times_s.max())
    wanted = _idle_s(actions, judged, at_s)
    next_to_act = _idle_s(by_time[0].known, by_time[0].users, by_time[0].at_s)
    if _distance(wanted, next_to_act) <= _distance(wanted, _idle_s(actions, everybody, at_s)):
        return by_time
    return [Replay.split(actions, last_of_users(actions, _sample(judged, MOST_USERS)))]


def replays_by_time(actions: Actions, *, cuts: int = CUTS) -> list[Replay]:
    """Take off the last tenth of the actions, then the last tenth of the rest, and so on.

    Raises ValueError without times.
    """
    found = []
    for _ in range(cuts):
        later = after_time(actions)
        if later.all():
            break
        found.append(Replay.split(actions, later))
        actions = actions.take(~later)
    return found or [Replay.split(actions, after_time(actions))]


def _idle_s(actions: Actions, users: IntArray, at_s: float) -> FloatArray:
    return np.sort(at_s - actions.last_times_s()[users])


def _distance(one: FloatArray, other: FloatArray) -> float:
    """The largest difference between two samples' distributions (Kolmogorov and Smirnov's)."""
    if not len(one) or not len(other):
        return 1.0
    every = np.concatenate([one, other])
    shares = [np.searchsorted(sample, every, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
