from itertools import islice, pairwise

import numpy as np
import pytest

from recommendations.core.arrays import FloatArray
from recommendations.core.blocks import PaddedBlocks
from recommendations.core.ials import Factors, Penalty, RowSolver, always, half_sweep, train
from recommendations.core.interactions import Interactions
from recommendations.core.weights import EVEN
from tests.recommendations.core.logs import random_log, two_camps


def loss(matrix: Interactions, factors: Factors, penalty: Penalty) -> float:
    """The objective itself, on dense matrices."""
    scores = factors.users.astype(np.float64) @ factors.items.T
    own = scores[matrix.row_numbers, matrix.columns]
    preference = matrix.gains / matrix.weights
    error = (matrix.weights * (preference - own) ** 2).sum()
    error += penalty.unobserved * (scores**2).sum()
    by_user = matrix.row_sums() + penalty.unobserved * np.count_nonzero(factors.items.any(axis=1))
    by_item = matrix.column_sums() + penalty.unobserved * np.count_nonzero(
        factors.users.any(axis=1)
    )
    error += penalty.ridge * (by_user * np.square(factors.users).sum(axis=1)).sum()
    error += penalty.ridge * (by_item * np.square(factors.items).sum(axis=1)).sum()
    return float(error)


def trained(matrix: Interactions, *, sweeps: int, steps: int = 3) -> list[Factors]:
    penalty = Penalty.scaled(matrix)
    start = Factors.random(len(matrix), matrix.n_columns, 8)
    return list(islice(train(matrix, penalty, start, steps=steps), sweeps))


def test_no_sweep_makes_the_objective_worse() -> None:
    matrix = Interactions.from_actions(random_log(), EVEN)
    penalty = Penalty.scaled(matrix)
    losses = [loss(matrix, factors, penalty) for factors in trained(matrix, sweeps=8)]
    assert all(after <= before * (1 + 1e-5) for before, after in pairwise(losses))


def test_enough_steps_solve_each_row_exactly() -> None:
    matrix = Interactions.from_actions(random_log(), EVEN)
    penalty = Penalty.scaled(matrix)
    items = np.random.default_rng(1).standard_normal((matrix.n_columns, 8)).astype(np.float32)
    nothing = np.zeros((len(matrix), 8), dtype=np.float32)
    solver = RowSolver(items, penalty, column_sums=matrix.column_sums())
    found = half_sweep(PaddedBlocks(matrix), solver, nothing, steps=always(30), warm=False)
    for row in range(len(matrix)):
        assert found[row] == pytest.approx(
            solved(matrix.take(np.array([row])), items, penalty), abs=1e-4
        )


def solved(row: Interactions, items: FloatArray, penalty: Penalty) -> FloatArray:
    """One row's vector from its normal equations, written out."""
    own = items[row.columns].astype(np.float64)
    system = penalty.unobserved * items.T.astype(np.float64) @ items
    system += own.T @ (row.weights[:, None] * own)
    frequency = row.weights.sum() + penalty.unobserved * len(items)
    system += penalty.ridge * frequency * np.eye(items.shape[1])
    found: FloatArray = np.linalg.solve(system, own.T @ row.gains)
    return found


def test_users_get_the_items_of_their_camp() -> None:
    matrix = Interactions.from_actions(two_camps(), EVEN)
    factors = trained(matrix, sweeps=12)[-1]
    scores = factors.users @ factors.items.T
    even = scores[0::2, 0::2].mean(), scores[0::2, 1::2].mean()
    assert even[0] > 5 * abs(even[1])


def test_the_same_seed_gives_the_same_factors() -> None:
    matrix = Interactions.from_actions(random_log(), EVEN)
    one, other = trained(matrix, sweeps=3)[-1], trained(matrix, sweeps=3)[-1]
    assert np.array_equal(one.items, other.items)


def test_a_warm_start_goes_on_where_training_stopped() -> None:
    matrix = Interactions.from_actions(random_log(), EVEN)
    penalty = Penalty.scaled(matrix)
    sweeps = trained(matrix, sweeps=6)
    resumed = next(iter(train(matrix, penalty, sweeps[4], steps=3)))
    assert resumed.items == pytest.approx(sweeps[5].items, abs=1e-5)


def test_rows_without_entries_are_zero() -> None:
    log = random_log(users=50)
    matrix = Interactions.from_pairs(
        log.users, log.items, log.strengths, shape=(60, log.n_items + 3)
    )
    factors = trained(matrix, sweeps=2)[-1]
    assert not factors.users[50:].any()
    assert not factors.items[log.n_items :].any()
    assert np.isfinite(factors.users).all()


def test_a_dismissed_item_scores_below_an_untouched_one() -> None:
    log = two_camps()
    users = np.append(log.users, 0)
    unseen = np.setdiff1d(np.arange(0, log.n_items, 2), log.items[log.users == 0])
    items = np.append(log.items, unseen[0])
    shape = (log.n_users, log.n_items)
    neutral = Interactions.from_pairs(log.users, log.items, log.strengths, shape=shape)
    dismissed = Interactions.from_pairs(users, items, np.append(log.strengths, -1.5), shape=shape)
    before, after = trained(neutral, sweeps=8)[-1], trained(dismissed, sweeps=8)[-1]
    score = [factors.users[0] @ factors.items[unseen[0]] for factors in (before, after)]
    assert score[1] < score[0]


def test_nothing_known_trains_to_nothing() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    matrix = Interactions.from_pairs(nothing, nothing, np.zeros(0), shape=(3, 4))
    factors = trained(matrix, sweeps=1)[-1]
    assert not factors.users.any()
    assert not factors.items.any()


def test_two_workers_find_what_one_finds() -> None:
    matrix = Interactions.from_actions(random_log(users=900, n=20_000), EVEN)
    solver = RowSolver(
        np.random.default_rng(1).standard_normal((matrix.n_columns, 8)).astype(np.float32),
        Penalty.scaled(matrix),
    )
    nothing = np.zeros((len(matrix), 8), dtype=np.float32)
    blocks = list(PaddedBlocks(matrix, entries=500))
    one, two = (
        half_sweep(blocks, solver, nothing, steps=always(3), warm=False, workers=workers)
        for workers in (1, 2)
    )
    assert np.array_equal(one, two)
