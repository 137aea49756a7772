from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sites.platforms.pricing import amount

TIERS = [
    {"last_unit": 10, "unit_price": 100, "unit_price_decimal": None, "fixed_fee": 500},
    {"last_unit": "20", "unit_price": 80, "unit_price_decimal": None, "fixed_fee": 0},
    {"last_unit": "inf", "unit_price": None, "unit_price_decimal": "50.5", "fixed_fee": 200},
]


def price(scheme: str, **changes: Any) -> dict[str, Any]:
    return {
        "scheme": scheme,
        "unit_price": 100,
        "unit_price_decimal": None,
        "package_size": 1,
        "tiers": None,
        **changes,
    }


def test_standard_price_is_paid_for_each_unit() -> None:
    assert amount(price("standard"), 3) == 300
    assert amount(price("standard", unit_price=None, unit_price_decimal="0.125"), 3) == Decimal(
        "0.375"
    )


@pytest.mark.parametrize(("quantity", "packages"), [(0, 0), (1, 1), (5, 1), (6, 2), (10, 2)])
def test_begun_package_is_paid_in_full(quantity: int, packages: int) -> None:
    assert amount(price("package", package_size=5), quantity) == 100 * packages


@pytest.mark.parametrize(
    ("quantity", "cost"), [(1, 600), (10, 1500), (11, 880), (20, 1600), (21, "1260.5")]
)
def test_volume_price_is_that_of_the_tier_of_the_last_unit(quantity: int, cost: Any) -> None:
    assert amount(price("volume", tiers=TIERS), quantity) == Decimal(cost)


@pytest.mark.parametrize(
    ("quantity", "cost"), [(0, 0), (1, 600), (10, 1500), (11, 1580), (20, 2300), (22, "2601")]
)
def test_graduated_price_adds_up_the_tiers(quantity: int, cost: Any) -> None:
    assert amount(price("graduated", tiers=TIERS), quantity) == Decimal(cost)


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_one_tier_without_a_fee_costs_the_same_in_every_scheme(quantity: int, unit: int) -> None:
    tiers = [{"last_unit": "inf", "unit_price": unit, "fixed_fee": None}]
    schemes = ("standard", "package", "volume", "graduated")
    costs = {amount(price(scheme, unit_price=unit, tiers=tiers), quantity) for scheme in schemes}
    assert costs == {Decimal(quantity * unit)}


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="no such scheme"):
        amount(price("auction"), 1)


@pytest.mark.parametrize("scheme", ["volume", "graduated"])
def test_tiers_that_end_before_the_quantity_are_refused(scheme: str) -> None:
    with pytest.raises(ValueError, match="end before the quantity"):
        amount(price(scheme, tiers=TIERS[:2]), 21)
