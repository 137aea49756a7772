"""From ranked items to the list that is shown: places for new items, and no topic above its share."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TypeVar

import numpy as np

from recommendations.core.arrays import IntArray
from recommendations.core.interactions import Interactions

Item = TypeVar("Item")

# Shares are fractions such as 0.1, which no float holds exactly.
_TINY = 1e-9

#: What replay chooses from, the most variety and the most new items first.
TOPIC_SHARES = (0.2, 0.3, 0.5, 0.7, 1.0)
EXPLORATION_SHARES = (0.2, 0.1, 0.05, 0.0)
#: The share of a list's worth that may be given for variety, and for getting to know new items.
TOPIC_COST = 0.01
NEW_COST = 0.03
#: Judged are the first places of a list, which people see.
PLACES = 10


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How a list is divided.

    exploration: the share of the places that is kept for new items, 0 to 1.
    topic: the most that one topic may have of a list, above 0 and up to 1.
    """

    exploration: float = 0.1
    topic: float = 0.5

    def reserves(self, place: int) -> bool:
        """Whether this place, 1 for the first, is kept: with 0.1 every tenth."""
        return floor(place * self.exploration + _TINY) > floor(
            (place - 1) * self.exploration + _TINY
        )

    def most_of_a_topic(self, limit: int) -> int:
        """How many entries of a list of this length may share a topic; at least one."""
        return max(1, ceil(limit * self.topic - _TINY))


def arrange(
    ranked: Sequence[Item],
    new: Sequence[Item],
    *,
    limit: int,
    shares: Shares,
    topics_of: Callable[[Item], Collection[str]],
) -> list[Item]:
    """The list of at most limit items, in order. ranked, new: best first, without repeats.

    A kept place goes to the first of the new items that is not in the list yet. What belongs to a
    full topic is passed over, so the list may be shorter than what there was.
    """
    waiting, reserve = list(ranked), list(new)
    counts: Counter[str] = Counter()
    most = shares.most_of_a_topic(limit)
    chosen: list[Item] = []

    def first_allowed(items: list[Item]) -> Item | None:
        return next(_allowed(items, counts, most, topics_of), None)

    while len(chosen) < limit:
        item = first_allowed(reserve) if shares.reserves(len(chosen) + 1) else None
        item = first_allowed(waiting) if item is None else item
        if item is None:
            break
        chosen.append(item)
        counts.update(set(topics_of(item)))
        for items in (waiting, reserve):
            if item in items:
                items.remove(item)
    return chosen


def _allowed(
    items: Sequence[Item],
    counts: Counter[str],
    most: int,
    topics_of: Callable[[Item], Collection[str]],
) -> Iterator[Item]:
    return (item for item in items if all(counts[topic] < most for topic in topics_of(item)))


def choose_shares(
    lists: IntArray,
    new: Sequence[int],
    topics: Sequence[Collection[str]],
    targets: Interactions,
) -> Shares:
    """What replay allows: as much variety and as many new items as the lists can bear.

    lists: (n, k) ranked items of the judged users, -1 for none; more than PLACES, so that something
    can move up; n may be 0, and then nothing is known against the defaults. new: the items that were
        new then. topics: of each item. targets: n rows by items.
    """
    if not len(lists):
        return Shares()

    def worth(shares: Shares) -> float:
        return _worth(lists, new, topics, targets, shares)

    free = worth(Shares(exploration=0.0, topic=1.0))
    topic = next(
        share
        for share in TOPIC_SHARES
        if share == 1.0 or worth(Shares(exploration=0.0, topic=share)) >= free * (1 - TOPIC_COST)
    )
    exploration = next(
        share
        for share in EXPLORATION_SHARES
        if share == 0.0
        or worth(Shares(exploration=share, topic=topic)) >= free * (1 - TOPIC_COST - NEW_COST)
    )
    return Shares(exploration=exploration, topic=topic)


def _worth(
    lists: IntArray,
    new: Sequence[int],
    topics: Sequence[Collection[str]],
    targets: Interactions,
    shares: Shares,
) -> float:
    """The mean NDCG of the first PLACES of the lists when they are divided so."""
    found = np.zeros(len(lists))
    for row, listed in enumerate(lists):
        ranked = [int(item) for item in listed if item >= 0]
        arranged = arrange(ranked, new, limit=PLACES, shares=shares, topics_of=topics.__getitem__)
        entries = slice(targets.starts[row], targets.starts[row + 1])
        hits = np.isin(arranged, targets.columns[entries])
        gains = 1 / np.log2(np.arange(2, PLACES + 2))
        wanted = min(PLACES, entries.stop - entries.start)
        found[row] = gains[: len(hits)][hits].sum() / max(gains[:wanted].sum(), gains[0])
    return float(found.mean()) if len(found) else 0.0
