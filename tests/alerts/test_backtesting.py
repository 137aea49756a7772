"""A replay finds what an evaluation would have found at the time."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from alerts import backtesting
from alerts.backtesting import backtest
from alerts.evaluating import evaluate
from alerts.judging import instants
from alerts.models import Alert, AlertRule
from sites.history.latency import count
from sites.models import MonitoredSite, SiteHour
from tests.alerts.conftest import NOW, AddPoint, AddRule, AddSite
from tests.alerts.rules.test_no_sales import shop, silence

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
HOUR = timedelta(hours=1)


def points(add_point: AddPoint, site: MonitoredSite, signs: str) -> None:
    """One point every five minutes, down for each d."""
    for number, sign in enumerate(signs):
        add_point(site, NOW + 5 * number * MINUTE, "down" if sign == "d" else "up")


@pytest.mark.parametrize("signs", ["uuddduu", "dudududd", "uuudddddddddddd", "uuuu"])
def test_a_replay_fires_when_evaluations_at_those_instants_did(
    add_site: AddSite, add_rule: AddRule, add_point: AddPoint, signs: str
) -> None:
    rule = add_rule(cooldown_minutes=20, options={"minutes": 5})
    points(add_point, add_site(), signs)
    end = NOW + 5 * (len(signs) - 1) * MINUTE
    for now in instants(NOW, end, 5 * MINUTE):
        evaluate(now)
    lived = Alert.objects.order_by("opened_at").values_list("opened_at", "closed_at", "reason")
    found = backtest(rule, NOW, end)
    assert [(it.opened_at, it.closed_at, it.reason) for it in found.firings] == list(lived)


def test_a_replay_of_silence_fires_in_the_hour_in_which_it_becomes_unlikely(
    add_site: AddSite, add_rule: AddRule
) -> None:
    site = add_site(timezone="UTC")
    hours = shop(10, dict.fromkeys(range(8, 20), 5)) + silence(48)
    hours += [(NOW + 48 * HOUR, 5)]
    SiteHour.objects.bulk_create(
        SiteHour(site=site, begins_at=begins_at, sales=sales) for begins_at, sales in hours
    )
    rule = add_rule(kind="no-sales", options={}, cooldown_minutes=0)
    found = backtest(rule, NOW - 35 * DAY, NOW + 50 * HOUR)
    # exp(-5) is above 0.001 and exp(-10) below, so it takes the second of the hours that sell.
    assert [it.opened_at - NOW for it in found.firings] == [2 * HOUR]
    assert found.firings[0].closed_at == NOW + 49 * HOUR
    assert found.unknown == 0
    early = backtest(rule, NOW - 65 * DAY, NOW - 60 * DAY)
    assert early.unknown_percent == 100
    assert "Too little history" in early.unknown_reason


def hours_of(site: MonitoredSite, *hours: tuple[int, int]) -> None:
    """One row for each hour from NOW on: (good, down), of four attempts."""
    SiteHour.objects.bulk_create(
        SiteHour(site=site, begins_at=NOW + number * HOUR, attempts=4, good=good, down=down)
        for number, (good, down) in enumerate(hours)
    )


def test_before_the_points_that_are_kept_an_outage_is_found_in_the_hours(
    add_site: AddSite, add_rule: AddRule
) -> None:
    hours_of(add_site(), (4, 0), (2, 2), (0, 4), (1, 3), (4, 0))
    rule = add_rule(options={"minutes": 20}, cooldown_minutes=0)
    (firing,) = backtest(rule, NOW, NOW + 3 * DAY).firings
    # Of the four points of each hour, 7.5 minutes after it began and so on, the bad ones are one
    # stretch: two at the end of the second hour, four, and three at the beginning of the fourth.
    assert firing.opened_at == NOW + HOUR + 60 * MINUTE
    assert firing.closed_at == NOW + 3 * HOUR + 55 * MINUTE
    assert "Down for" in firing.reason


def test_hours_do_not_hide_the_points_that_are_still_there(
    add_site: AddSite, add_rule: AddRule, add_point: AddPoint
) -> None:
    site = add_site()
    hours_of(site, (0, 4), (0, 4))
    for number in range(24):
        add_point(site, NOW + 5 * number * MINUTE, "up")
    assert backtest(add_rule(options={"minutes": 0}), NOW, NOW + 3 * DAY).firings == []


def test_what_could_not_be_measured_in_an_hour_is_no_outage(
    add_site: AddSite, add_rule: AddRule
) -> None:
    hours_of(add_site(), (0, 0), (0, 0), (4, 0))
    assert backtest(add_rule(options={"minutes": 20}), NOW, NOW + 3 * DAY).firings == []
    rule = add_rule(name="Any", options={"minutes": 20, "any_failure": True})
    assert len(backtest(rule, NOW, NOW + 3 * DAY).firings) == 1


def test_slow_hours_are_found_by_their_histograms(add_site: AddSite, add_rule: AddRule) -> None:
    SiteHour.objects.bulk_create(
        SiteHour(
            site=site, begins_at=NOW + number * HOUR, attempts=4, good=4, latency_counts=counts
        )
        for site in [add_site()]
        for number, counts in enumerate([count([100] * 4), count([900] * 4), count([100] * 4)])
    )
    rule = add_rule(kind="slow", options={"limit_ms": 500, "minutes": 60}, cooldown_minutes=0)
    (firing,) = backtest(rule, NOW, NOW + 3 * DAY).firings
    assert (
        NOW + HOUR < firing.opened_at < NOW + 2 * HOUR < (firing.closed_at or NOW) < NOW + 3 * HOUR
    )


def test_the_number_of_queries_depends_on_neither_sites_nor_instants(
    add_site: AddSite,
    add_rule: AddRule,
    add_point: AddPoint,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    rule = add_rule()
    for number in range(10):
        points(add_point, add_site(f"shop {number}"), "dudu")
    with django_assert_num_queries(4):  # sites, points, hours, incidents
        found = backtest(rule, NOW, NOW + 10 * DAY)
    assert found.targets == 10
    assert found.every == 5 * MINUTE
    assert found.judged == 10 * (10 * 24 * 12 + 1)


def test_with_many_sites_it_judges_less_often_and_says_so(
    add_site: AddSite, add_rule: AddRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtesting, "JUDGEMENTS", 1000)
    for number in range(10):
        add_site(f"shop {number}")
    found = backtest(add_rule(), NOW, NOW + DAY)
    assert found.every == 15 * MINUTE
    assert found.judged <= 1000


def test_instants_are_whole_multiples_between_begin_and_end() -> None:
    found = list(instants(NOW + MINUTE, NOW + 21 * MINUTE, 10 * MINUTE))
    assert found == [NOW + 10 * MINUTE, NOW + 20 * MINUTE]
    assert list(instants(NOW, NOW, HOUR)) == [NOW]


# --- The command ----------------------------------------------------------------------------------


def run(*args: str) -> str:
    out = StringIO()
    call_command("backtest_alert", *args, stdout=out)
    return out.getvalue()


def test_the_command_prints_when_how_long_and_why(
    add_site: AddSite, add_rule: AddRule, add_point: AddPoint
) -> None:
    rule = add_rule("Down")
    site, begin = add_site("shop"), timezone.now() - 3 * HOUR
    add_point(site, begin, "down", reason="no answer")
    add_point(site, begin + 20 * MINUTE, "up")
    out = run("Down", "--days", "2")
    assert out == run(str(rule.pk), "--days", "2")
    (line,) = [line for line in out.splitlines() if "no answer" in line]
    assert "shop" in line
    assert "20 minutes" in line
    assert "1 alerts in 2 days, 3.5 a week, of 1 watched; judged every 5 minutes." in out
    assert "of the judgements could not be made" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("Up",), "there are: Down"),
        (("7777",), "there are"),
        (("Down", "--days", "0"), "from 1 to"),
    ],
)
def test_the_command_says_what_is_wrong(
    add_rule: AddRule, args: tuple[str, ...], words: str
) -> None:
    add_rule("Down")
    with pytest.raises(CommandError, match=words):
        run(*args)


def test_a_rule_without_code_is_named(add_rule: AddRule) -> None:
    add_rule("old", kind="horoscope")
    with pytest.raises(CommandError, match="'horoscope' has gone"):
        run("old")
    assert AlertRule.objects.count() == 1
