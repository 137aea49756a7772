"""Lists that are not all of one kind: a cap for each topic, and places kept for new items."""

import numpy as np

from recommendations.core.arrays import IntArray
from recommendations.core.interactions import Interactions


def limit_topics(lists: IntArray, topics: Interactions, k: int, *, most: int) -> IntArray:
    """(n, k) lists in which no topic has more than most places, as far as there are other items.

    lists: (n, m) item numbers, best first, -1 for none; m above k leaves something to choose from.
    topics: items by topics; an item with several counts for each, one without for none.
    An item over the cap gives way to the next best below it, and comes back only where a list would
    otherwise be shorter.
    Raises ValueError for most < 1.
    """
    if most < 1:
        raise ValueError("A topic needs at least one place.")
    n, width = lists.shape
    table = _topic_table(topics)
    # The last topic number stands for none and is never full.
    counts = np.zeros((n, topics.n_columns + 1), dtype=np.int32)
    kept = np.zeros((n, width), dtype=bool)
    rows = np.arange(n)[:, None]
    for place in range(width):
        own = table[lists[:, place]]
        full = (counts[rows, own] >= most) & (own < topics.n_columns)
        kept[:, place] = (lists[:, place] >= 0) & ~full.any(axis=1) & (kept.sum(axis=1) < k)
        counted = kept[:, place, None] & (own < topics.n_columns)
        np.add.at(counts, (np.broadcast_to(rows, own.shape)[counted], own[counted]), 1)
    # First what was kept, then what gave way, each in its order; an empty place comes last.
    rank = np.where(kept, 0, np.where(lists >= 0, 1, 2))
    order = np.argsort(rank, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(lists, order, axis=1)


def _topic_table(topics: Interactions) -> IntArray:
    """(n_items + 1, most topics of an item) topic numbers; n_topics where an item has fewer.

    The last row is for -1, no item.
    """
    width = max(1, int(topics.lengths.max(initial=0)))
    table = np.full((len(topics) + 1, width), topics.n_columns, dtype=np.int64)
    places = np.arange(len(topics.columns)) - topics.starts[topics.row_numbers]
    table[topics.row_numbers, places] = topics.columns
    return table


def reserve(lists: IntArray, others: IntArray, *, share: float) -> IntArray:
    """(n, k) lists that keep a share of their places for other items.

    lists: (n, k), best first, -1 for none. others: (n, m), likewise, none of them in lists.
    share: 0.1 puts an other item into every tenth place, 0 into none. What stood there moves down.
    A new item loses every fair contest against items with a history; this is where it can win one.
    Raises ValueError for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError("share must be between 0 and 1.")
    k = lists.shape[1]
    quotas = np.floor(np.arange(1, k + 1) * share + 1e-9).astype(np.int64)
    places = np.flatnonzero(np.diff(quotas, prepend=0) > 0)[: others.shape[1]]
    # An own item keeps its order; an other one comes before whatever has the place by then.
    own_order = np.setdiff1d(np.arange(k + len(places)), places)[:k]
    both = np.concatenate([lists, others[:, : len(places)]], axis=1)
    order = np.concatenate([own_order, places])
    mixed = both[:, np.argsort(order, kind="stable")]
    # A missing item leaves no hole in the middle of a list.
    filled = np.take_along_axis(mixed, np.argsort(mixed < 0, axis=1, kind="stable"), axis=1)
    return filled[:, :k]
