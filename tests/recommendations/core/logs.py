"""Small logs of actions, made up for the tests."""

import numpy as np

from recommendations.core.actions import Actions
from recommendations.core.arrays import FloatArray


def actions_of(*rows: tuple[int, int, float], n_users: int = 0, n_items: int = 0) -> Actions:
    """Actions of (user, item, time in seconds), each of strength 1."""
    users, items, times_s = (np.array(column) for column in zip(*rows, strict=True))
    return Actions(
        users=users.astype(np.int64),
        items=items.astype(np.int64),
        strengths=np.ones(len(rows)),
        times_s=times_s.astype(np.float64),
        n_users=n_users or int(users.max()) + 1,
        n_items=n_items or int(items.max()) + 1,
    )


def two_camps(*, users: int = 60, items: int = 40, per_user: int = 12, seed: int = 0) -> Actions:
    """Even users like even items and odd users odd ones, an hour between the actions of a user."""
    random = np.random.default_rng(seed)
    own = np.repeat(np.arange(users), per_user)
    liked = np.concatenate(
        [2 * random.choice(items // 2, per_user, replace=False) + user % 2 for user in range(users)]
    )
    return Actions(
        users=own,
        items=liked,
        strengths=np.ones(len(own)),
        times_s=np.tile(np.arange(per_user) * 3600.0, users) + random.random(len(own)),
        n_users=users,
        n_items=items,
    )


def random_log(
    *, users: int = 50, items: int = 30, n: int = 600, days: float = 60, seed: int = 0
) -> Actions:
    """Actions without any pattern but that some items are more popular."""
    random = np.random.default_rng(seed)
    popularity: FloatArray = 1 / np.arange(1, items + 1)
    return Actions(
        users=random.integers(0, users, n),
        items=random.choice(items, n, p=popularity / popularity.sum()),
        strengths=np.ones(n),
        times_s=np.sort(random.random(n)) * days * 86_400,
        n_users=users,
        n_items=items,
    )
