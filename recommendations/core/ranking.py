"""From vectors to lists: the score, the seen filter, and the exact best of everybody.

score(u, i) = c_u · (z_ui - b · ln(pop_i + 5)) + a · ln(trend_i + ε), where z is taste in units of its
own spread over the catalogue and c_u grows with what is known about a user. Without the
item-to-item part it is one inner product of k + 2 numbers, so that popularity and trend can
change every few minutes and no factor moves.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import local

import numpy as np

from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.interactions import Interactions
from recommendations.core.parameters import ScoreWeights

POPULARITY_FLOOR = 5.0
# Columns are compared in groups of so many before any is sorted.
_GROUP = 32
# So few that a block's scores stay in the processor's cache between product and choice.
BLOCK_ROWS = 64


def confidence(counts: IntArray, weights: ScoreWeights) -> FloatArray:
    """(n,) float32 in [0, 1): how much the own taste of users with counts items weighs."""
    own: FloatArray = np.sqrt(counts / (counts + max(weights.confidence, 1e-9)))
    return own.astype(np.float32)


def catalogue_terms(
    popularity: FloatArray, trend: FloatArray, weights: ScoreWeights
) -> tuple[FloatArray, FloatArray]:
    """(n_items,) float32 each: ln(popularity + 5) and ln(trend + ε)."""
    return (
        np.log(popularity + POPULARITY_FLOOR).astype(np.float32),
        np.log(trend + weights.trend_floor).astype(np.float32),
    )


def score_spread(user_vectors: FloatArray, item_factors: FloatArray) -> FloatArray:
    """(n_users,) float32: the standard deviation of x·y over the catalogue, without the products."""
    centred = item_factors - item_factors.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = (centred.T @ centred) / np.float32(max(1, len(item_factors)))
    variance = np.vecdot(user_vectors @ covariance, user_vectors)
    spreads: FloatArray = np.sqrt(np.maximum(variance, 1e-12))
    return spreads


def item_vectors(
    item_factors: FloatArray, popularity: FloatArray, trend: FloatArray, weights: ScoreWeights
) -> FloatArray:
    """(n_items, k + 2) float32: factors, ln(popularity + 5), ln(trend + ε)."""
    terms = catalogue_terms(popularity, trend, weights)
    return np.concatenate([item_factors, np.stack(terms, axis=1)], axis=1, dtype=np.float32)


def query_vectors(
    user_vectors: FloatArray, counts: IntArray, item_factors: FloatArray, weights: ScoreWeights
) -> FloatArray:
    """(n_users, k + 2) float32 whose inner products with item_vectors() are the scores.

    counts: (n_users,) on how many items each user acted. With an item-to-item model beside it
    the taste is only the factors' share.
    """
    own = confidence(counts, weights)
    spread = score_spread(user_vectors, item_factors)
    share = np.float32(1 - weights.item_item)
    found = np.empty((len(user_vectors), user_vectors.shape[1] + 2), dtype=np.float32)
    found[:, :-2] = user_vectors * (share * own / spread)[:, None]
    found[:, -2] = -np.float32(weights.popularity) * own
    found[:, -1] = weights.trend
    return found


def hide(scores: FloatArray, hidden: Interactions) -> None:
    """Take items out of the contest: each row's entries in hidden become -inf, in place."""
    scores[hidden.row_numbers, hidden.columns] = -np.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class Contenders:
    """All that can be among the k best of each row, and a little more, row after row.

    rows, columns: (m,) in the catalogue's order; scores: (m,) float32.
    places: (m,) the how manieth of its row each is, and width: more than any of them.
    bounds: (n,) what a score has to reach.
    """

    rows: IntArray
    columns: IntArray
    scores: FloatArray
    places: IntArray
    width: int
    bounds: FloatArray


def contenders(scores: FloatArray, k: int) -> Contenders:
    """Sort out the columns that cannot be among the k best of their row.

    The k-th largest of the groups' maxima is a lower bound for the k-th largest score, since k
    groups each hold a score that high: so nearly all columns fall away before anything is sorted.
    """
    bounds = _lower_bounds(scores, k)
    # In one dimension nonzero is twenty times as fast as in two.
    entries = np.flatnonzero(scores >= bounds[:, None])
    return _contenders(scores, entries, bounds)


def _contenders(scores: FloatArray, entries: IntArray, bounds: FloatArray) -> Contenders:
    """The entries (ascending numbers into the flat scores), with their rows and places."""
    n, width = scores.shape
    firsts = np.searchsorted(entries, np.arange(n + 1) * width)
    counts = np.diff(firsts)
    rows = np.repeat(np.arange(n), counts)
    return Contenders(
        rows=rows,
        columns=entries - rows * width,
        scores=scores.reshape(-1)[entries],
        places=np.arange(len(entries)) - np.repeat(firsts[:-1], counts),
        width=int(counts.max(initial=0)),
        bounds=bounds,
    )


def _without_late_ties(scores: FloatArray, found: Contenders, k: int) -> Contenders:
    """Leave out what ties with its row's bound and stands behind k that reach it.

    A user without taste gives every item the same score; without this all would be sorted.
    """
    kept = (found.scores > found.bounds[found.rows]) | (found.places < k)
    entries = found.rows[kept] * scores.shape[1] + found.columns[kept]
    return _contenders(scores, entries, found.bounds)


def _lower_bounds(scores: FloatArray, k: int) -> FloatArray:
    """(n,) a number for each row that at least k of its scores reach, and few more.

    -inf where a row has no more than k scores.
    """
    n, width = scores.shape
    if width <= k:
        return np.full(n, -np.inf, dtype=np.float32)
    size = min(_GROUP, width // (2 * k))
    if size < 2:
        return np.partition(scores, width - k, axis=1)[:, width - k]
    groups = width // size
    maxima = scores[:, : groups * size].reshape(n, size, groups).max(axis=1)
    return np.partition(maxima, groups - k, axis=1)[:, groups - k]


def top_k(scores: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """The exact k best of each row: (n, k) int32 columns and float32 scores, best first.

    scores: (n, n_items) float32, contiguous, without NaN; n_items below 2**32.
    Ties keep the catalogue's order. A place for which nothing is left has column -1 and score -inf.
    """
    found = contenders(scores, k)
    if found.width > 2 * k:
        found = _without_late_ties(scores, found, k)
    # One number holds a score, the best one lowest, and in its lower half the column: numpy sorts
    # whole numbers several times as fast as it finds the stable order of fractions.
    keys = np.full((len(scores), max(k, found.width)), _NO_KEY, dtype=np.uint64)
    keys[found.rows, found.places] = _descending(found.scores) << _HALF | found.columns.astype(
        np.uint64
    )
    keys.sort(axis=1)
    keys = keys[:, :k]
    best = _scores_of((keys >> _HALF).astype(np.uint32))
    columns = keys.astype(np.uint32).view(np.int32)
    columns[best == -np.inf] = -1
    return columns, best


_HALF = np.uint64(32)
_SIGN = np.uint32(1 << 31)


def _descending(scores: FloatArray) -> IntArray:
    """(n,) uint64 below 2**32 that ascend where float32 scores descend."""
    # Adding zero makes -0 the same number as 0.
    bits = (scores.astype(np.float32) + np.float32(0)).view(np.uint32)
    return np.where(bits & _SIGN, bits, ~bits & ~_SIGN).astype(np.uint64)


def _scores_of(descending: IntArray) -> FloatArray:
    """The float32 scores of what _descending made, as uint32."""
    scores: FloatArray = np.where(descending & _SIGN, descending, ~descending & ~_SIGN).view(
        np.float32
    )
    return scores


# What is missing has the lowest score, and comes after all columns that have it too.
_NO_KEY = _descending(np.array([-np.inf]))[0] << _HALF | np.uint64(2**32 - 1)


def rank_blocks(
    queries: FloatArray,
    items: FloatArray,
    hidden: Interactions,
    k: int,
    *,
    block_rows: int = BLOCK_ROWS,
    workers: int = 1,
) -> Iterator[tuple[slice, IntArray, FloatArray]]:
    """Yield (rows, columns, scores) of the exact k best items, one matrix product a block.

    queries: (n, d). items: (n_items, d). hidden: n rows by items, what may not be listed.
    workers: threads, each with a block of its own; memory is workers · block_rows · n_items numbers.
    """
    across = np.ascontiguousarray(items.T)
    memory = local()

    def ranked(first: int) -> tuple[slice, IntArray, FloatArray]:
        rows = slice(first, min(first + block_rows, len(queries)))
        if not hasattr(memory, "scores"):
            memory.scores = np.empty((block_rows, len(items)), dtype=np.float32)
        scores = np.matmul(queries[rows], across, out=memory.scores[: rows.stop - first])
        hide(scores, hidden.take(np.arange(rows.start, rows.stop)))
        return rows, *top_k(scores, k)

    firsts = range(0, len(queries), block_rows)
    if workers == 1:
        yield from map(ranked, firsts)
        return
    with ThreadPoolExecutor(workers) as pool:
        # A few rounds at a time: a caller that stops early has not paid for everybody.
        for group in range(0, len(firsts), 4 * workers):
            yield from pool.map(ranked, firsts[group : group + 4 * workers])
