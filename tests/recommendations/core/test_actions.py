import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.core.actions import Actions, windows
from tests.recommendations.core.logs import actions_of, random_log


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Actions(
            users=np.array([0]),
            items=np.array([0, 1]),
            strengths=np.ones(1),
            times_s=None,
            n_users=1,
            n_items=2,
        )


def test_a_row_number_that_is_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        actions_of((0, 5, 1.0), n_items=5)


def test_positions_count_back_from_the_latest_action_of_each_user() -> None:
    log = actions_of((0, 0, 30.0), (1, 0, 5.0), (0, 1, 10.0), (0, 2, 20.0))
    assert log.positions().tolist() == [0, 0, 2, 1]


def test_equal_times_keep_their_order() -> None:
    log = actions_of((0, 3, 7.0), (0, 1, 7.0), (0, 2, 7.0))
    assert log.by_user().items.tolist() == [3, 1, 2]
    assert log.positions().tolist() == [2, 1, 0]


def test_users_without_actions_acted_last_never() -> None:
    log = actions_of((0, 0, 3.0), (0, 1, 9.0), n_users=2)
    assert log.last_times_s().tolist() == [9.0, -np.inf]


def test_a_short_history_is_one_window() -> None:
    log = actions_of(*[(0, item, float(item)) for item in range(5)])
    cut = windows(log, length=10, stride=5)
    assert cut.n_users == 1
    assert sorted(cut.items.tolist()) == [0, 1, 2, 3, 4]


def test_the_latest_actions_are_a_window() -> None:
    log = actions_of(*[(0, item, float(item)) for item in range(25)])
    cut = windows(log, length=10, stride=5)
    assert sorted(cut.items[cut.users == 0].tolist()) == list(range(15, 25))


def test_a_length_that_is_no_multiple_of_the_stride_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        windows(random_log(), length=10, stride=4)


@given(n=st.integers(1, 200), users=st.integers(1, 9), stride=st.integers(1, 6))
def test_every_action_is_in_a_window_and_no_window_is_too_long(
    n: int, users: int, stride: int
) -> None:
    log = random_log(users=users, n=n)
    cut = windows(log, length=2 * stride, stride=stride)
    assert cut.counts_by_user().max() <= 2 * stride
    assert cut.counts_by_user().min() >= 1
    kept = set(zip(cut.items.tolist(), np.asarray(cut.times_s).tolist(), strict=True))
    assert kept == set(zip(log.items.tolist(), np.asarray(log.times_s).tolist(), strict=True))
