from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sites.platforms.recurring import per_month


@pytest.mark.parametrize(
    ("interval", "count", "monthly"),
    [("day", 1, 365), ("week", 1, 52), ("week", 52, 1), ("month", 1, 12), ("year", 1, 1)],
)
def test_interval_is_spread_over_months(interval: str, count: int, monthly: int) -> None:
    assert per_month(Decimal(12), interval, count) == monthly


@given(st.integers(0, 10**9), st.sampled_from(["day", "week", "month", "year"]), st.integers(1, 60))
def test_twice_as_seldom_is_half_as_much(amount: int, interval: str, count: int) -> None:
    once, seldom = (per_month(Decimal(amount), interval, each) for each in (count, 2 * count))
    assert abs(once - 2 * seldom) <= once * Decimal("1e-25")


@pytest.mark.parametrize(("interval", "count"), [("quarter", 1), ("month", 0), ("month", -1)])
def test_unknown_interval_is_refused(interval: str, count: int) -> None:
    with pytest.raises(ValueError, match="no such interval"):
        per_month(Decimal(1), interval, count)
