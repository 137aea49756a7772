from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from alerts.rules.base import Finding, Target, Verdict
from alerts.rules.usual_band import REVENUE, Days, UsualBand, usual_band
from sites.models import SiteDay
from tests.alerts.conftest import AddSite

KIND = UsualBand()
OPTIONS = KIND.options({})
ZONE = ZoneInfo("Europe/Vienna")
#: A Monday, and well after its end in Vienna.
DAY = date(2026, 6, 1)
NOW = datetime(2026, 6, 2, 10, tzinfo=UTC)
VALUES = st.lists(st.integers(0, 10_000), min_size=1, max_size=20)


def mondays(*values: int | None) -> dict[date, int]:
    """The values of the Mondays before DAY, the newest first; None is not known."""
    days = {DAY - timedelta(weeks=number): it for number, it in enumerate(values, start=1)}
    return {day: value for day, value in days.items() if value is not None}


def judge(
    value: int | None,
    usual: dict[date, int],
    now: datetime = NOW,
    name: str = "visitors",
    **options: object,
) -> Verdict:
    values = usual if value is None else {**usual, DAY: value}
    return KIND.judge({**OPTIONS, **options}, Days(zone=ZONE, figures={name: values}), now)


USUAL = mondays(100, 104, 96, 102, 98, 101, 99, 100)


@pytest.mark.parametrize(
    ("value", "direction", "finding"),
    [
        (60, "below", Finding.FIRING),
        (66, "below", Finding.CLEAR),
        (160, "below", Finding.CLEAR),
        (160, "above", Finding.FIRING),
        (60, "above", Finding.CLEAR),
        (160, "both", Finding.FIRING),
        (60, "both", Finding.FIRING),
        (134, "both", Finding.CLEAR),
    ],
)
def test_a_day_outside_the_band_fires_on_the_side_that_is_asked_for(
    value: int, direction: str, finding: Finding
) -> None:
    # A median of 100 and a spread of at least a tenth of it: 3.5 of these are 35.
    assert judge(value, USUAL, direction=direction).finding is finding


def test_one_extraordinary_day_moves_the_band_little() -> None:
    black_friday = {**USUAL, DAY - timedelta(weeks=3): 5_000}
    assert judge(60, black_friday).finding is Finding.FIRING


def test_other_weekdays_do_not_count() -> None:
    sundays = {day - timedelta(days=1): 5 for day in USUAL}
    assert judge(6, {**USUAL, **sundays}).finding is Finding.FIRING
    assert judge(100, {**USUAL, **sundays}, direction="above").finding is Finding.CLEAR


def test_a_day_that_is_not_known_is_not_zero() -> None:
    verdict = judge(None, USUAL)
    assert verdict.finding is Finding.UNKNOWN
    assert "Mon 01 Jun are not known" in verdict.reason
    assert judge(0, USUAL).finding is Finding.FIRING


def test_too_little_history_is_said_and_not_judged() -> None:
    verdict = judge(0, mondays(100, None, 104, None, 96))
    assert verdict.finding is Finding.UNKNOWN
    assert verdict.reason == ("Too little history to judge: 3 Mondays are known, 4 are needed.")


def test_a_day_is_judged_when_it_has_settled_by_the_clocks_of_the_site() -> None:
    sunday = {DAY - timedelta(weeks=number, days=1): 100 for number in range(9)}
    days = {**USUAL, **sunday, DAY: 0}
    # Monday is over in Vienna at 22:00 UTC, and settled three hours later.
    before, after = (datetime(2026, 6, 2, hour, 59, tzinfo=UTC) for hour in (0, 1))
    assert judge(None, days, before).finding is Finding.CLEAR
    assert judge(None, days, after).finding is Finding.FIRING


def test_each_currency_has_a_band_of_its_own_and_its_own_minor_units() -> None:
    figures = {
        "JPY": {**mondays(*[5000] * 8), DAY: 5100},
        "KWD": {**mondays(*[5_000_000] * 8), DAY: 100_000},
    }
    verdict = KIND.judge({**OPTIONS, "figure": REVENUE}, Days(zone=ZONE, figures=figures), NOW)
    assert verdict.finding is Finding.FIRING
    assert "100.000 KWD" in verdict.reason
    assert "JPY" not in verdict.reason


@given(values=VALUES, width=st.floats(0.5, 10))
def test_the_band_holds_the_median_and_half_of_the_days_at_a_width_of_one(
    values: list[int], width: float
) -> None:
    band = usual_band(values, width)
    assert band.low <= band.median <= band.high
    one = usual_band(values, 1)
    assert 2 * sum(one.low <= value <= one.high for value in values) >= len(values)


@given(values=VALUES, order=st.randoms())
def test_the_order_of_the_days_does_not_matter(values: list[int], order: object) -> None:
    mixed = list(values)
    order.shuffle(mixed)  # type: ignore[attr-defined]
    assert usual_band(values, 3) == usual_band(mixed, 3)


@given(values=VALUES, width=st.floats(0.5, 10))
def test_a_wider_band_holds_a_narrower_one(values: list[int], width: float) -> None:
    narrow, wide = usual_band(values, width), usual_band(values, width + 1)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


def test_a_currency_that_a_known_day_lacks_was_none_on_that_day(
    add_site: AddSite, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    site, other = add_site("shop"), add_site("other")
    days = {DAY - timedelta(weeks=number): {"EUR": 1000 * number} for number in range(9)}
    days[DAY - timedelta(weeks=2)] = {"EUR": 10, "USD": 20}
    SiteDay.objects.bulk_create(
        SiteDay(site=site, day=day, revenue_minor=money) for day, money in days.items()
    )
    SiteDay.objects.create(site=site, day=DAY - timedelta(days=1), revenue_minor=None, visitors=3)
    options = {**OPTIONS, "figure": REVENUE}
    with django_assert_num_queries(1):
        found = KIND.read(options, [site, other], NOW - KIND.lookback(options), NOW)
    figures = found[Target(site_id=site.pk)].figures
    assert figures["USD"] == {day: 20 if "USD" in money else 0 for day, money in days.items()}
    assert DAY - timedelta(days=1) not in figures["EUR"]
    verdict = KIND.judge(options, found[Target(site_id=other.pk)], NOW)
    assert (verdict.finding, verdict.reason) == (
        Finding.UNKNOWN,
        "No figures of revenue are known of it.",
    )
