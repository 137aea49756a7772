import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.core.evaluation import (
    coverage,
    metrics_of,
    middle_ranks,
    paired_bootstrap,
)
from recommendations.core.interactions import Interactions


def targets_of(*rows: list[int], n_items: int) -> Interactions:
    own = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return Interactions.from_pairs(own, items, np.ones(len(own)), shape=(len(rows), n_items))


def test_the_best_item_has_rank_one() -> None:
    scores = np.array([[0.1, 0.9, 0.5]], dtype=np.float32)
    assert middle_ranks(scores, targets_of([0, 1], n_items=3)).tolist() == [3, 1]


def test_ties_count_as_the_middle_rank() -> None:
    scores = np.zeros((1, 99), dtype=np.float32)
    assert middle_ranks(scores, targets_of([4], n_items=99)).tolist() == [50]


@given(width=st.integers(2, 400), levels=st.integers(1, 60), seed=st.integers(0, 20))
def test_ranks_are_those_of_counting(width: int, levels: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, levels, (1, width)).astype(np.float32)
    ranks = middle_ranks(scores, targets_of(list(range(width)), n_items=width))
    better = (scores[0][None, :] > scores[0][:, None]).sum(axis=1)
    equal = (scores[0][None, :] == scores[0][:, None]).sum(axis=1)
    expected = 1 + better + (equal - 1) / 2
    # No metric looks beyond a hundred places.
    assert np.array_equal(np.minimum(ranks, 101), np.minimum(expected, 101)) or np.all(
        (ranks == expected) | ((expected > 50) & np.isinf(ranks))
    )
    assert np.array_equal(ranks[expected <= 50], expected[expected <= 50])


def test_metrics_of_a_perfect_list_are_one() -> None:
    targets = targets_of(list(range(30)), n_items=40)
    found = metrics_of(np.arange(1.0, 31.0), targets).means()
    assert found == {"hit_10": 1, "ndcg_10": 1, "recall_20": 1, "ndcg_100": 1}


def test_metrics_count_by_place() -> None:
    targets = targets_of([0, 1], [2], n_items=3)
    found = metrics_of(np.array([3.0, 15.0, 11.0]), targets)
    assert found.hit_10.tolist() == [1, 0]
    assert found.recall_20.tolist() == [1, 1]
    ideal = 1 + 1 / np.log2(3)
    assert found.ndcg_10.tolist() == pytest.approx([0.5 / ideal, 0])
    assert found.ndcg_100[1] == pytest.approx(1 / np.log2(12))


def test_a_user_without_targets_counts_as_nothing() -> None:
    found = metrics_of(np.array([1.0]), targets_of([], [0], n_items=1))
    assert found.ndcg_10.tolist() == [0, 1]


def test_a_clear_difference_has_an_interval_above_zero() -> None:
    differences = np.random.default_rng(0).normal(0.2, 0.3, 400)
    found = paired_bootstrap(differences)
    assert 0 < found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(4 * 0.3 / 20, rel=0.2)


def test_no_difference_has_an_interval_around_zero() -> None:
    found = paired_bootstrap(np.random.default_rng(0).normal(0, 0.3, 400))
    assert found.low < 0 < found.high


def test_nobody_makes_no_difference() -> None:
    found = paired_bootstrap(np.zeros(0))
    assert (found.low, found.mean, found.high) == (0, 0, 0)


def test_coverage_counts_items_once() -> None:
    assert coverage(np.array([[0, 1], [1, -1]]), 4) == 0.5
