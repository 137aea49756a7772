"""What a list is worth: ranks of the items that users really took next."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recommendations.core.arrays import BoolArray, FloatArray, IntArray, group_sums
from recommendations.core.interactions import Interactions
from recommendations.core.ranking import contenders

# No metric looks further down a list.
DEPTH = 100
_CHUNK_SCORES = 4_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Metrics:
    """One number a user, all (n_users,) float64 in [0, 1].

    hit_10: whether one of the first ten is a target. ndcg_10, ndcg_100: normalised discounted
    cumulative gain. recall_20: the share of the targets that is in the first twenty, of those that
        twenty places can hold.
    """

    hit_10: FloatArray
    ndcg_10: FloatArray
    recall_20: FloatArray
    ndcg_100: FloatArray

    def means(self) -> dict[str, float]:
        """The mean of each over the users; 0 without users."""
        return {
            name: float(values.mean()) if len(values) else 0.0
            for name, values in vars(self).items()
        }

    def take(self, users: IntArray) -> "Metrics":
        """The metrics of some of the users."""
        return Metrics(**{name: values[users] for name, values in vars(self).items()})


def middle_ranks(scores: FloatArray, targets: Interactions) -> FloatArray:
    """(n_targets,) the rank of each target among its row's items, 1 for the best; inf beyond DEPTH.

    scores: (n_rows, n_items); -inf for what is not in the contest. targets: rows by items.
    Ties count as the middle rank: counting them as the best would reward a model that gives every
    item the same score.
    """
    found = contenders(scores, DEPTH)
    heads = np.full((len(scores), found.width), -np.inf, dtype=np.float32)
    heads[found.rows, found.places] = found.scores
    rows = targets.row_numbers
    own = scores[rows, targets.columns]
    ranks = np.full(len(rows), np.inf)
    near = np.flatnonzero(own >= found.bounds[rows])
    step = max(1, _CHUNK_SCORES // max(1, found.width))
    for first in range(0, len(near), step):
        part = near[first : first + step]
        others, mine = heads[rows[part]], own[part, None]
        better = (others > mine).sum(axis=1)
        equal = (others == mine).sum(axis=1) - 1
        ranks[part] = 1 + better + equal / 2
    return ranks


def metrics_of(ranks: FloatArray, targets: Interactions) -> Metrics:
    """Metrics of each row from the ranks of its targets; a row without targets gets 0."""
    return Metrics(
        hit_10=(_per_row(targets, ranks <= 10) > 0).astype(np.float64),
        ndcg_10=_ndcg(ranks, targets, 10),
        recall_20=_per_row(targets, ranks <= 20) / np.clip(targets.lengths, 1, 20),
        ndcg_100=_ndcg(ranks, targets, 100),
    )


def _per_row(targets: Interactions, values: FloatArray | BoolArray) -> FloatArray:
    return group_sums(targets.row_numbers, values, len(targets))


def _ndcg(ranks: FloatArray, targets: Interactions, k: int) -> FloatArray:
    gains = np.where(ranks <= k, 1 / np.log2(ranks + 1), 0.0)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    best = ideal[np.minimum(targets.lengths, k)]
    found: FloatArray = _per_row(targets, gains) / np.maximum(best, ideal[1])
    return found


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with the bounds of its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(differences: FloatArray, *, rounds: int = 1000, seed: int = 0) -> Interval:
    """The mean difference between two systems over users, by drawing users again.

    differences: (n_users,) one system's metric less the other's, for the same user.
    Source: Efron's percentile bootstrap; paired, since the same users see both.
    """
    n = len(differences)
    if not n:
        return Interval(mean=0.0, low=0.0, high=0.0)
    random = np.random.default_rng(seed)
    means = np.empty(rounds)
    # A multinomial count of draws is a row of the bootstrap; blocks keep the counts small.
    step = max(1, _CHUNK_SCORES // n)
    for first in range(0, rounds, step):
        size = min(step, rounds - first)
        draws = random.multinomial(n, np.full(n, 1 / n), size=size)
        means[first : first + size] = draws @ differences / n
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean=float(differences.mean()), low=float(low), high=float(high))


def coverage(lists: IntArray, n_items: int) -> float:
    """The share of the catalogue that is in any list; entries below 0 are places left empty."""
    return len(np.unique(lists[lists >= 0])) / max(1, n_items)


def measure(
    score_block: Callable[[IntArray], FloatArray],
    targets: Interactions,
    *,
    block_rows: int = 512,
) -> Metrics:
    """Metrics of all rows of targets, scored block by block.

    score_block: takes row numbers (b,), returns (b, n_items), -inf for what may not be listed.
    """
    ranks = np.empty(len(targets.columns))
    for first in range(0, len(targets), block_rows):
        rows = np.arange(first, min(first + block_rows, len(targets)))
        entries = slice(targets.starts[rows[0]], targets.starts[rows[-1] + 1])
        ranks[entries] = middle_ranks(score_block(rows), targets.take(rows))
    return metrics_of(ranks, targets)
