import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.core.actions import DAY_S
from recommendations.core.weights import (
    EVEN,
    KIND_STRENGTHS,
    Recency,
    decay_weights,
    position_weights,
    recency_weights,
)
from tests.recommendations.core.logs import actions_of, random_log


@given(age_s=st.floats(0, 1e9), half_life_s=st.floats(1, 1e9))
def test_one_more_half_life_halves_the_weight(age_s: float, half_life_s: float) -> None:
    now, later = decay_weights(np.array([age_s, age_s + half_life_s]), half_life_s)
    assert later == pytest.approx(now / 2, rel=1e-5)


@given(one=st.floats(0, 1e6), other=st.floats(0, 1e6))
def test_ages_add_where_weights_multiply(one: float, other: float) -> None:
    first, second, both = decay_weights(np.array([one, other, one + other]), DAY_S)
    assert both == pytest.approx(first * second, rel=1e-6, abs=1e-300)


@pytest.mark.parametrize("age_s", [-1.0, np.nan])
def test_an_age_that_cannot_be_is_refused(age_s: float) -> None:
    with pytest.raises(ValueError, match="age"):
        decay_weights(np.array([age_s]), DAY_S)


@pytest.mark.parametrize("half_life_s", [0.0, -1.0, np.nan])
def test_a_half_life_that_cannot_be_is_refused(half_life_s: float) -> None:
    with pytest.raises(ValueError, match="half_life_s"):
        decay_weights(np.array([1.0]), half_life_s)


def test_a_scale_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="scale"):
        position_weights(np.array([1]), 0.0)


def test_no_actions_have_no_weights() -> None:
    assert decay_weights(np.zeros(0), DAY_S).shape == (0,)


def test_age_counts_from_the_users_own_last_action() -> None:
    log = actions_of((0, 0, 0.0), (0, 1, DAY_S), (1, 0, 50 * DAY_S))
    weights = recency_weights(log, Recency(half_life_s=DAY_S, floor=0.0))
    assert weights.tolist() == [0.5, 1.0, 1.0]


def test_nothing_is_forgotten_entirely() -> None:
    log = actions_of((0, 0, 0.0), (0, 1, 1e9))
    weights = recency_weights(log, Recency(half_life_s=DAY_S, floor=0.02))
    assert weights.tolist() == [0.02, 1.0]


def test_positions_weigh_by_order_whatever_the_times() -> None:
    log = actions_of((0, 0, 0.0), (0, 1, 1.0), (0, 2, 1e8))
    weights = recency_weights(log, Recency(position_scale=3, floor=0.0))
    assert weights == pytest.approx(np.exp([-2 / 3, -1 / 3, 0]))


@pytest.mark.parametrize("recency", [EVEN, Recency(half_life_s=1.0), Recency(position_scale=3)])
def test_without_times_every_action_weighs_the_same(recency: Recency) -> None:
    log = random_log().without_times()
    assert np.all(recency_weights(log, recency) == 1)


def test_a_dismissal_is_the_only_kind_below_zero() -> None:
    assert [kind for kind, strength in KIND_STRENGTHS.items() if strength < 0] == ["dismiss"]
