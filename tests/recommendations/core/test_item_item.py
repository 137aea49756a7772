import numpy as np
import pytest

from recommendations.core.interactions import Interactions
from recommendations.core.item_item import ItemGram, inverse
from recommendations.core.weights import EVEN
from tests.recommendations.core.logs import random_log, two_camps


@pytest.mark.parametrize("users", [40, 2000])
def test_the_gram_counts_users_who_liked_both(users: int) -> None:
    # With 2,000 users most rows are short and added pair by pair; with 40 all are dense.
    matrix = Interactions.from_actions(random_log(users=users, items=60, n=4000), EVEN)
    liked = (matrix.dense() > 0).astype(np.float32)
    found = ItemGram.of(matrix)
    assert np.array_equal(found.gram, (liked.T @ liked)[np.ix_(found.items, found.items)])


@pytest.mark.parametrize("users", [40, 2000])
def test_with_evenness_long_rows_count_less_and_the_diagonal_adds_up_to_the_same(
    users: int,
) -> None:
    matrix = Interactions.from_actions(random_log(users=users, items=60, n=4000), EVEN)
    liked = (matrix.dense() > 0).astype(np.float64)
    lengths = liked.sum(axis=1)
    shares = np.maximum(lengths, 1) ** -0.5
    shares *= lengths.sum() / (shares * lengths).sum()
    found = ItemGram.of(matrix, evenness=0.5)
    expected = (liked.T @ (liked * shares[:, None]))[np.ix_(found.items, found.items)]
    assert found.gram == pytest.approx(expected, rel=1e-4)
    assert np.trace(found.gram) == pytest.approx(lengths.sum(), rel=1e-4)


def test_the_model_is_the_closed_form() -> None:
    matrix = Interactions.from_actions(random_log(), EVEN)
    gram = ItemGram.of(matrix)
    p = np.linalg.inv(gram.gram.astype(np.float64) + 5 * np.eye(len(gram.gram)))
    expected = -p / np.diag(p)
    np.fill_diagonal(expected, 0)
    model = gram.solve(5.0)
    assert model.weights == pytest.approx(expected, abs=1e-5)
    assert model.scores(matrix)[:, model.items] == pytest.approx(
        matrix.dense()[:, model.items] @ expected, abs=1e-4
    )


def test_items_beyond_the_limit_score_nothing() -> None:
    matrix = Interactions.from_actions(random_log(), EVEN)
    model = ItemGram.of(matrix, most_items=10).solve(1.0)
    others = np.setdiff1d(np.arange(matrix.n_columns), model.items)
    scores = model.scores(matrix)
    assert len(model.items) == 10
    assert not scores[:, others].any()
    assert scores[:, model.items].any()


def test_items_of_a_camp_go_together() -> None:
    model = ItemGram.of(Interactions.from_actions(two_camps(), EVEN)).solve(10.0)
    assert model.weights[0::2, 0::2].sum() > 0
    assert model.weights[0::2, 1::2].max() < model.weights[0::2, 0::2].max()


@pytest.mark.parametrize("n", [1, 300, 513, 1100])
def test_the_inverse_by_halves_is_the_inverse(n: int) -> None:
    rows = np.random.default_rng(n).standard_normal((n + 50, n))
    matrix = rows.T @ rows + n * np.eye(n)
    assert np.abs(inverse(matrix) @ matrix - np.eye(n)).max() < 1e-9
