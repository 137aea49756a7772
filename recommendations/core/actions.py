"""The log of what users did, as columns."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from recommendations.core.arrays import BoolArray, FloatArray, IntArray

DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Actions:
    """One row an action, in the order in which a user's actions happened.

    users, items: (n,) row numbers in [0, n_users) and [0, n_items).
    strengths: (n,) how much an action says, 1 for an ordinary one; below 0 for a dismissal.
    times_s: (n,) unix seconds, or None where nobody knows when, nor in which order.
    """

    users: IntArray
    items: IntArray
    strengths: FloatArray
    times_s: FloatArray | None
    n_users: int
    n_items: int

    def __post_init__(self) -> None:
        lengths = {len(self.users), len(self.items), len(self.strengths)}
        if self.times_s is not None:
            lengths.add(len(self.times_s))
        if len(lengths) != 1:
            raise ValueError(f"The columns of actions differ in length: {sorted(lengths)}.")
        for rows, limit in ((self.users, self.n_users), (self.items, self.n_items)):
            if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < limit:
                raise ValueError(f"A row number lies outside [0, {limit}).")

    def __len__(self) -> int:
        return len(self.users)

    def take(self, chosen: IntArray | BoolArray) -> Self:
        """The chosen actions, by row numbers or mask; users and items keep their numbers."""
        return type(self)(
            users=self.users[chosen],
            items=self.items[chosen],
            strengths=self.strengths[chosen],
            times_s=None if self.times_s is None else self.times_s[chosen],
            n_users=self.n_users,
            n_items=self.n_items,
        )

    def without_times(self) -> Self:
        """The same actions as if nobody knew when they happened."""
        return type(self)(
            users=self.users,
            items=self.items,
            strengths=self.strengths,
            times_s=None,
            n_users=self.n_users,
            n_items=self.n_items,
        )

    def by_user(self) -> Self:
        """The same actions, sorted by user, then time; equal times keep their order."""
        keys = (self.users,) if self.times_s is None else (self.times_s, self.users)
        return self.take(np.lexsort(keys))

    def counts_by_user(self) -> IntArray:
        """(n_users,) how many actions each user has."""
        return np.bincount(self.users, minlength=self.n_users)

    def last_times_s(self) -> FloatArray:
        """(n_users,) when each user acted last; -inf for a user without actions or times."""
        last = np.full(self.n_users, -np.inf)
        if self.times_s is not None:
            np.maximum.at(last, self.users, self.times_s)
        return last

    def positions(self) -> IntArray:
        """(n,) how many later actions the same user has: 0 for the latest of each user."""
        keys = (self.users,) if self.times_s is None else (self.times_s, self.users)
        order = np.lexsort(keys)
        ends = np.cumsum(self.counts_by_user())
        found = np.empty(len(self), dtype=np.int64)
        found[order] = ends[self.users[order]] - 1 - np.arange(len(self))
        return found


def windows(actions: Actions, *, length: int = 40, stride: int = 20) -> Actions:
    """Cut each user's history into overlapping windows, each a user of its own.

    What happened within a window belongs together; in a history of years little does. Windows count
    back from a user's latest action, so that the latest length actions are one of them.
    Returns actions whose users are windows; an action is in length / stride of them, fewer at a
    history's old end.
    Raises ValueError where length is no multiple of stride.
    """
    if stride < 1 or length % stride:
        raise ValueError("length must be a multiple of stride.")
    positions = actions.positions()
    counts = actions.counts_by_user()
    per_user = np.maximum(1, -(-(counts - length) // stride) + 1) * (counts > 0)
    firsts = np.cumsum(per_user) - per_user
    copies = []
    for shift in range(length // stride):
        numbers = positions // stride - shift
        inside = (numbers >= 0) & (numbers < per_user[actions.users])
        chosen = np.flatnonzero(inside)
        part = actions.take(chosen)
        copies.append((chosen, firsts[part.users] + numbers[chosen]))
    chosen = np.concatenate([entries for entries, _ in copies])
    return Actions(
        users=np.concatenate([numbers for _, numbers in copies]),
        items=actions.items[chosen],
        strengths=actions.strengths[chosen],
        times_s=None if actions.times_s is None else actions.times_s[chosen],
        n_users=int(per_user.sum()),
        n_items=actions.n_items,
    )
