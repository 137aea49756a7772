from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sites.platforms.money import CURRENCIES, exponent, money, to_minor, to_units, with_unit


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("12.99", "EUR", 1299),
        ("0.29", "USD", 29),
        ("1500", "JPY", 1500),
        ("12.345", "KWD", 12345),
        ("1.2345", "CLF", 12345),
        ("-3.50", "EUR", -350),
        ("1E+2", "EUR", 10000),
    ],
)
def test_amount_becomes_minor_units_of_its_currency(amount: str, currency: str, minor: int) -> None:
    assert to_minor(Decimal(amount), currency) == minor


def test_fraction_of_a_minor_unit_is_rounded_half_to_even() -> None:
    assert [to_minor(Decimal(text), "EUR") for text in ("0.125", "0.135", "0.1251")] == [12, 14, 13]


def test_absurd_amount_is_refused() -> None:
    for text in ("1E+17", "-1E+17", "1E+299"):
        with pytest.raises(ValueError, match="more than 18 digits"):
            to_minor(Decimal(text), "EUR")


@given(st.integers(-(10**17), 10**17), st.sampled_from(sorted(CURRENCIES)))
def test_minor_units_survive_the_way_to_units_and_back(minor: int, currency: str) -> None:
    assert to_minor(to_units(minor, currency), currency) == minor


def test_units_show_all_decimals_of_the_currency() -> None:
    assert [str(to_units(1290, currency)) for currency in ("EUR", "JPY", "KWD")] == [
        "12.90",
        "1290",
        "1.290",
    ]


def test_every_odd_exponent_belongs_to_a_currency() -> None:
    odd = {currency for currency in CURRENCIES if exponent(currency) != 2}
    assert len(odd) == 26
    assert {len(currency) for currency in CURRENCIES} == {3}


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (129_900, "EUR", "1,299.00 EUR"),
        (5, "USD", "0.05 USD"),
        (91_200, "JPY", "91,200 JPY"),
        (1_234, "KWD", "1.234 KWD"),
        (-250, "EUR", "-2.50 EUR"),
        (10**17 + 1, "EUR", "1,000,000,000,000,000.01 EUR"),
    ],
)
def test_money_is_written_with_the_decimals_of_its_currency(
    minor: int, currency: str, text: str
) -> None:
    assert money(minor, currency) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.4, "%", "2.4%"),
        (1200, "jobs", "1,200 jobs"),
        (7, "", "7"),
        (0.000001, "", "1e-06"),
        (1_249_000, "EUR minor", "12,490.00 EUR"),
    ],
)
def test_metric_is_written_with_its_unit(value: float, unit: str, text: str) -> None:
    assert with_unit(value, unit) == text
