import numpy as np
import pytest

from recommendations.core.fold_in import FoldIn
from recommendations.core.ials import Penalty, always
from recommendations.core.interactions import Interactions
from recommendations.core.weights import EVEN
from tests.recommendations.core.logs import random_log


def folded() -> tuple[FoldIn, Interactions]:
    matrix = Interactions.from_actions(random_log(users=300, items=200, n=6000), EVEN)
    factors = np.random.default_rng(0).standard_normal((matrix.n_columns, 32))
    penalty = Penalty.scaled(matrix)
    return FoldIn(factors.astype(np.float32), penalty), matrix


def test_the_fast_way_is_near_the_exact_solution() -> None:
    fold_in, matrix = folded()
    fast, exact = fold_in.fast(matrix), fold_in.exact(matrix)
    errors = np.linalg.norm(fast - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert np.median(errors) < 1e-4
    assert np.quantile(errors, 0.99) < 1e-3


def test_more_steps_come_nearer() -> None:
    fold_in, matrix = folded()
    exact = fold_in.exact(matrix)
    errors = [np.abs(fold_in.fast(matrix, steps=always(n)) - exact).max() for n in (2, 4, 24)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


@pytest.mark.parametrize("seed", [1, 2])
def test_a_vector_does_not_depend_on_who_else_is_folded_in(seed: int) -> None:
    fold_in, matrix = folded()
    everybody = fold_in.exact(matrix)
    some = np.random.default_rng(seed).permutation(len(matrix))[:17]
    assert fold_in.exact(matrix.take(some)) == pytest.approx(everybody[some], abs=1e-6)


def test_blocks_hold_every_user_with_actions_once() -> None:
    fold_in, matrix = folded()
    numbers = np.concatenate([rows for rows, _ in fold_in.exact_blocks(matrix)])
    assert sorted(numbers.tolist()) == np.flatnonzero(matrix.lengths).tolist()


def test_who_did_nothing_has_a_vector_of_zeros() -> None:
    fold_in, matrix = folded()
    nothing = np.zeros(0, dtype=np.int64)
    idle = Interactions.from_pairs(nothing, nothing, np.zeros(0), shape=(2, matrix.n_columns))
    assert not fold_in.fast(idle).any()
    assert not fold_in.exact(idle).any()


def test_items_without_a_vector_change_nobody() -> None:
    matrix = Interactions.from_actions(random_log(), EVEN)
    factors = np.random.default_rng(0).standard_normal((matrix.n_columns, 8)).astype(np.float32)
    penalty = Penalty.scaled(matrix)
    more = np.concatenate([factors, np.zeros((5, 8), dtype=np.float32)])
    wider = Interactions(
        starts=matrix.starts,
        columns=matrix.columns,
        weights=matrix.weights,
        gains=matrix.gains,
        n_columns=matrix.n_columns + 5,
    )
    before, after = FoldIn(factors, penalty).exact(matrix), FoldIn(more, penalty).exact(wider)
    assert after == pytest.approx(before, abs=1e-6)
