"""From vectors to lists: the score, the seen filter, and the exact best of everybody.

score(u, i) = c_u · (z_ui - b · ln(pop_i + 5)) + a · ln(trend_i + ε), where z is taste in units of its
own spread over the catalogue and c_u grows with what is known about a user. Without the
item-to-item part it is one inner product of k + 2 numbers, so that popularity and trend can
change every few minutes and no factor moves.
"""

from collections.abc import Iterator

import numpy as np

from recommendations.core.arrays import FloatArray, IntArray
from recommendations.core.interactions import Interactions
from recommendations.core.parameters import ScoreWeights

POPULARITY_FLOOR = 5.0
# Columns are compared in groups of so many before any is sorted.
_GROUP = 32


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


def top_k(scores: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """The exact k best of each row: (n, k) int32 columns and float32 scores, best first.

    Ties keep the catalogue's order. A place for which nothing is left has column -1 and score -inf.

    The k-th largest of the groups' maxima is a lower bound for the k-th largest score, since k
    groups each hold a score that high: so nearly all columns fall away before anything is sorted.
    """
    n, width = scores.shape
    kept = min(k, width)
    if not n or not kept:
        return np.full((n, k), -1, dtype=np.int32), np.full((n, k), -np.inf, dtype=np.float32)
    rows, columns = np.nonzero(scores >= _lower_bounds(scores, kept)[:, None])
    counts = np.bincount(rows, minlength=n)
    firsts = np.cumsum(counts) - counts
    places = np.arange(len(rows)) - firsts[rows]
    values = np.full((n, int(counts.max())), -np.inf, dtype=np.float32)
    where = np.full(values.shape, -1, dtype=np.int32)
    values[rows, places] = scores[rows, columns]
    where[rows, places] = columns
    order = np.argsort(-values, axis=1, kind="stable")[:, :kept]
    best = np.take_along_axis(values, order, axis=1)
    found = np.where(best > -np.inf, np.take_along_axis(where, order, axis=1), -1)
    missing = ((0, 0), (0, k - kept))
    return (
        np.pad(found, missing, constant_values=-1).astype(np.int32),
        np.pad(best, missing, constant_values=-np.inf),
    )


def _lower_bounds(scores: FloatArray, k: int) -> FloatArray:
    """(n,) a number for each row that at least k of its scores reach, and few more."""
    n, width = scores.shape
    groups = width // _GROUP
    if groups < 2 * k:
        return np.partition(scores, width - k, axis=1)[:, width - k]
    even = groups * _GROUP
    maxima = scores[:, :even].reshape(n, _GROUP, groups).max(axis=1)
    return np.partition(maxima, groups - k, axis=1)[:, groups - k]


def rank_blocks(
    queries: FloatArray, items: FloatArray, hidden: Interactions, k: int, *, block_rows: int = 256
) -> Iterator[tuple[slice, IntArray, FloatArray]]:
    """Yield (rows, columns, scores) of the exact k best items, one matrix product a block.

    queries: (n, d). items: (n_items, d). hidden: n rows by items, what may not be listed.
    """
    across = np.ascontiguousarray(items.T)
    buffer = np.empty((min(block_rows, max(1, len(queries))), len(items)), dtype=np.float32)
    for first in range(0, len(queries), block_rows):
        rows = slice(first, min(first + block_rows, len(queries)))
        scores = np.matmul(queries[rows], across, out=buffer[: rows.stop - first])
        hide(scores, hidden.take(np.arange(rows.start, rows.stop)))
        yield rows, *top_k(scores, k)
