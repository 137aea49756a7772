from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sites.platforms.base import FetchRequest, Metric
from sites.platforms.ledger import Ledger, money_metrics

NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
REQUEST = FetchRequest(options={}, time_zone=ZoneInfo("America/New_York"), now=NOW, past_days=2)
ENTRIES = st.lists(
    st.tuples(
        st.timedeltas(timedelta(-5), timedelta(2)),
        st.sampled_from(["EUR", "JPY"]),
        st.integers(-(10**6), 10**6),
    )
)


def test_entry_is_of_the_day_of_the_sites_zone() -> None:
    ledger = Ledger(REQUEST)
    ledger.enter(datetime(2026, 2, 7, 4, 59, tzinfo=UTC), "EUR", sales=1, revenue_minor=5)
    assert ledger.figures(date(2026, 2, 6)).revenue_minor == {"EUR": 5}
    assert ledger.figures(date(2026, 2, 7)).revenue_minor == {"EUR": 0}


def test_each_kind_is_a_metric_for_each_currency() -> None:
    ledger = Ledger(REQUEST, "refunds")
    ledger.enter(NOW, "EUR", sales=1, revenue_minor=500)
    ledger.enter(NOW, "JPY", refunds=70)
    assert ledger.figures(REQUEST.today, {"extra": Metric(value=1)}).metrics == {
        "refunds_eur": Metric(value=0, unit="EUR minor"),
        "refunds_jpy": Metric(value=70, unit="JPY minor"),
        "extra": Metric(value=1),
    }


def test_kind_that_was_not_announced_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="keeps no fees"):
        Ledger(REQUEST, "refunds").enter(NOW, "EUR", fees=1)


def test_money_is_named_by_its_currency() -> None:
    assert money_metrics("mrr", {"KWD": 12_340}) == {
        "mrr_kwd": Metric(value=12340, unit="KWD minor")
    }


@given(ENTRIES)
def test_days_add_up_to_what_was_entered_for_them(
    entries: list[tuple[timedelta, str, int]],
) -> None:
    ledger = Ledger(REQUEST)
    for ago, currency, amount in entries:
        ledger.enter(NOW + ago, currency, sales=1, revenue_minor=amount)
    days = [ledger.figures(REQUEST.today), *ledger.past_days().values()]
    begin, end = (REQUEST.begin_of(REQUEST.today + timedelta(days)) for days in (-2, 1))
    wanted = [entry for entry in entries if begin <= NOW + entry[0] < end]
    assert sum(day.sales or 0 for day in days) == len(wanted)
    for currency in ("EUR", "JPY"):
        of_it = [amount for _, code, amount in wanted if code == currency]
        assert sum(day.revenue_minor.get(currency, 0) for day in days) == sum(of_it)
        assert all((currency in day.revenue_minor) == bool(of_it) for day in days)
