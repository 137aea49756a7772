import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.core.interactions import Interactions

PAIRS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 4), st.sampled_from([1.0, 0.5, -1.0])), max_size=40
)


def matrix_of(
    pairs: list[tuple[int, int, float]], *, shape: tuple[int, int] = (7, 5), cap: float = np.inf
) -> Interactions:
    rows, columns, strengths = (
        np.array([pair[n] for pair in pairs]) if pairs else np.zeros(0) for n in range(3)
    )
    return Interactions.from_pairs(
        rows.astype(np.int64), columns.astype(np.int64), strengths, shape=shape, cap=cap
    )


@given(pairs=PAIRS)
def test_weights_and_gains_are_the_sums_of_each_pair(
    pairs: list[tuple[int, int, float]],
) -> None:
    weights, gains = np.zeros((7, 5)), np.zeros((7, 5))
    for row, column, strength in pairs:
        weights[row, column] += abs(strength)
        gains[row, column] += max(strength, 0)
    matrix = matrix_of(pairs)
    found = np.zeros((7, 5))
    found[matrix.row_numbers, matrix.columns] = matrix.weights
    assert np.array_equal(found, weights)
    assert np.array_equal(matrix.dense(), gains)


@given(pairs=PAIRS)
def test_transposing_twice_changes_nothing(pairs: list[tuple[int, int, float]]) -> None:
    matrix = matrix_of(pairs)
    again = matrix.transposed().transposed()
    assert np.array_equal(matrix.dense(), matrix.transposed().dense().T)
    for name in ("starts", "columns", "weights", "gains"):
        assert np.array_equal(getattr(again, name), getattr(matrix, name))


@given(pairs=PAIRS, rows=st.lists(st.integers(0, 6), max_size=9))
def test_taken_rows_are_the_rows_asked_for(
    pairs: list[tuple[int, int, float]], rows: list[int]
) -> None:
    matrix = matrix_of(pairs)
    taken = matrix.take(np.array(rows, dtype=np.int64))
    assert np.array_equal(taken.dense(), matrix.dense()[rows])


@given(pairs=PAIRS)
def test_contain_knows_every_pair(pairs: list[tuple[int, int, float]]) -> None:
    rows, columns = np.divmod(np.arange(35), 5)
    known = {(row, column) for row, column, _ in pairs}
    found = matrix_of(pairs).contain(rows, columns)
    assert found.tolist() == [pair in known for pair in zip(rows, columns, strict=True)]


def test_a_pair_is_capped_and_keeps_its_preference() -> None:
    matrix = matrix_of([(0, 0, 1.0)] * 6 + [(0, 0, -1.0)] * 2, cap=3.0)
    assert matrix.weights.tolist() == [3.0]
    assert matrix.gains.tolist() == [2.25]


def test_a_strength_of_zero_is_no_entry() -> None:
    assert matrix_of([(0, 0, 0.0)]).lengths.tolist() == [0] * 7


@pytest.mark.parametrize("shape", [(0, 0), (3, 2)])
def test_no_pairs_make_empty_rows(shape: tuple[int, int]) -> None:
    matrix = matrix_of([], shape=shape)
    assert len(matrix) == shape[0]
    assert matrix.row_sums().tolist() == [0.0] * shape[0]
    assert matrix.column_sums().tolist() == [0.0] * shape[1]
