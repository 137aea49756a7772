"""From ranked items to the list that is shown: places for new items, and no topic above its share."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TypeVar

Item = TypeVar("Item")

# Shares are fractions such as 0.1, which no float holds exactly.
_TINY = 1e-9


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
