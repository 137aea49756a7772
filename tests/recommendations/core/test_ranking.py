import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.core.interactions import Interactions
from recommendations.core.parameters import ScoreWeights
from recommendations.core.ranking import (
    catalogue_terms,
    confidence,
    item_vectors,
    query_vectors,
    rank_blocks,
    score_spread,
    top_k,
)

RANDOM = np.random.default_rng(0)


@given(
    n=st.integers(0, 4),
    width=st.integers(0, 700),
    k=st.integers(1, 40),
    levels=st.integers(1, 50),
    seed=st.integers(0, 9),
)
def test_top_k_is_the_head_of_a_stable_sort(
    n: int, width: int, k: int, levels: int, seed: int
) -> None:
    scores = np.random.default_rng(seed).integers(0, levels, (n, width)).astype(np.float32)
    columns, values = top_k(scores, k)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert columns.shape == values.shape == (n, k)
    assert np.array_equal(columns[:, : expected.shape[1]], expected)
    assert np.array_equal(
        values[:, : expected.shape[1]], np.take_along_axis(scores, expected, axis=1)
    )
    assert np.all(columns[:, expected.shape[1] :] == -1)


def test_what_is_hidden_leaves_its_place_empty() -> None:
    scores = np.array([[1.0, -np.inf, 3.0]], dtype=np.float32)
    assert top_k(scores, 3)[0].tolist() == [[2, 0, -1]]


def test_a_row_with_nothing_left_is_empty() -> None:
    scores = np.full((2, 300), -np.inf, dtype=np.float32)
    scores[1, 7] = 0
    assert top_k(scores, 2)[0].tolist() == [[-1, -1], [7, -1]]


def test_one_inner_product_is_the_whole_score() -> None:
    users = RANDOM.standard_normal((5, 8)).astype(np.float32)
    items = RANDOM.standard_normal((30, 8)).astype(np.float32)
    popularity, trend = RANDOM.integers(1, 99, 30) * 1.0, RANDOM.random(30)
    counts = np.array([0, 1, 5, 50, 500])
    weights = ScoreWeights(popularity=1.25, trend=2.5, confidence=40)
    found = (
        query_vectors(users, counts, items, weights)
        @ item_vectors(items, popularity, trend, weights).T
    )
    taste = users @ items.T
    taste /= taste.std(axis=1, keepdims=True)
    own = np.sqrt(counts / (counts + 40))[:, None]
    expected = own * (taste - 1.25 * np.log(popularity + 5)) + 2.5 * np.log(trend + 0.05)
    assert found == pytest.approx(expected, abs=1e-3)


def test_the_spread_is_that_of_the_products() -> None:
    users = RANDOM.standard_normal((5, 8)).astype(np.float32)
    items = RANDOM.standard_normal((30, 8)).astype(np.float32) + 1
    assert score_spread(users, items) == pytest.approx((users @ items.T).std(axis=1), rel=1e-4)


def test_who_did_nothing_has_no_taste() -> None:
    assert confidence(np.array([0, 40]), ScoreWeights()) == pytest.approx([0, 0.5**0.5])


def test_an_item_without_trend_or_actions_can_be_compared() -> None:
    popular, trending = catalogue_terms(np.zeros(1), np.zeros(1), ScoreWeights())
    assert np.isfinite([popular[0], trending[0]]).all()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("block_rows", [1, 3, 100])
def test_blocks_of_any_size_rank_the_same_and_list_nothing_hidden(
    block_rows: int, workers: int
) -> None:
    queries = RANDOM.standard_normal((10, 4)).astype(np.float32)
    items = RANDOM.standard_normal((80, 4)).astype(np.float32)
    hidden = Interactions.from_pairs(
        RANDOM.integers(0, 10, 200), RANDOM.integers(0, 80, 200), np.ones(200), shape=(10, 80)
    )
    scores = queries @ items.T
    scores[hidden.dense() > 0] = -np.inf
    blocks = rank_blocks(queries, items, hidden, 6, block_rows=block_rows, workers=workers)
    found = np.concatenate([columns for _, columns, _ in blocks])
    assert np.array_equal(found, np.argsort(-scores, axis=1, kind="stable")[:, :6])
