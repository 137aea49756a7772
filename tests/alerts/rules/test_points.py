"""The rules that look at single points: down, slow, about to expire; and the jobs."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from alerts.rules.base import Finding, RuleKind, Target, Verdict
from alerts.rules.down import Down, Evidence
from alerts.rules.expiry import Expiry
from alerts.rules.overdue import Overdue
from alerts.rules.points import Points
from alerts.rules.slow import Slow
from scheduling.models import JobRun, ScheduledJob
from scheduling.registry import registry
from scheduling.sync import default_row
from sites.models import Incident, MonitoredSite
from tests.alerts.conftest import NOW, AddPoint, AddSite

MINUTE = timedelta(minutes=1)


def look(kind: RuleKind[Any], site: MonitoredSite, now: datetime = NOW, **options: Any) -> Verdict:
    """Read what is stored and judge it."""
    complete = kind.options(options)
    found = kind.read(complete, [site], now - kind.lookback(complete), now)
    return kind.judge(complete, found[Target(site_id=site.pk)], now)


# --- Down -----------------------------------------------------------------------------------------


def states(*states: str, away: tuple[datetime, datetime | None] | None = None) -> Evidence:
    """One point every ten minutes, the last one at NOW."""
    times = [NOW - 10 * MINUTE * number for number in reversed(range(len(states)))]
    points = Points(times=times, values=[(state, f"said {state}") for state in states])
    return Evidence(points=points, away=[away] if away else [])


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        (states("up", "down", "down"), Finding.CLEAR),
        (states("up", "down", "down", "down"), Finding.FIRING),
        (states("down", "down", "up"), Finding.CLEAR),
        (states("down", "down", "slow", "down"), Finding.CLEAR),
        (states("down", "unavailable", "down"), Finding.FIRING),
        (states("down", "down", "unavailable"), Finding.UNKNOWN),
        (states("down", "down", "credentials_refused"), Finding.UNKNOWN),
        (states(), Finding.UNKNOWN),
    ],
)
def test_it_is_down_for_so_long_when_no_good_point_came_since(
    found: Evidence, finding: Finding
) -> None:
    assert Down().judge({"minutes": 20, "any_failure": False}, found, NOW).finding is finding


def test_whatever_the_failure_counts_where_that_is_asked_for() -> None:
    options = {"minutes": 20, "any_failure": True}
    found = states("up", "unavailable", "credentials_refused", "misconfigured")
    verdict = Down().judge(options, found, NOW)
    assert verdict.finding is Finding.FIRING
    assert verdict.reason == "Needs your attention for 20 minutes. said misconfigured"


def test_while_our_own_network_is_away_nothing_is_judged() -> None:
    options = {"minutes": 0, "any_failure": True}
    away_now = states("down", "down", away=(NOW - 5 * MINUTE, None))
    verdict = Down().judge(options, away_now, NOW)
    assert verdict.finding is Finding.UNKNOWN
    assert "network is away" in verdict.reason
    back = states("down", "down", away=(NOW - 5 * MINUTE, NOW - MINUTE))
    assert Down().judge(options, back, NOW).finding is Finding.FIRING


def test_a_site_that_has_not_been_looked_at_for_long_is_not_judged() -> None:
    options = {"minutes": 0, "any_failure": False}
    assert Down().judge(options, states("down"), NOW + 30 * MINUTE).finding is Finding.FIRING
    assert Down().judge(options, states("down"), NOW + 31 * MINUTE).finding is Finding.UNKNOWN


@given(
    signs=st.lists(st.sampled_from(["up", "slow", "down", "unavailable"]), min_size=1, max_size=20),
    cut=st.integers(0, 19),
)
def test_points_that_come_later_change_no_judgement(signs: list[str], cut: int) -> None:
    found = states(*signs)
    now = found.points.times[min(cut, len(signs) - 1)]
    count = found.points.count_until(now)
    earlier = Evidence(
        points=Points(times=found.points.times[:count], values=found.points.values[:count]),
        away=[],
    )
    options = {"minutes": 20, "any_failure": False}
    assert Down().judge(options, found, now) == Down().judge(options, earlier, now)


def test_points_taken_while_offline_are_left_out(
    add_site: AddSite, add_point: AddPoint, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    site = add_site()
    add_site("other")
    Incident.objects.create(site=None, state="offline", opened_at=NOW - 90 * MINUTE, closed_at=NOW)
    for minutes, state in ((40, "up"), (30, "down"), (20, "offline"), (10, "down")):
        add_point(site, NOW - minutes * MINUTE, state, reason="no answer")
    with django_assert_num_queries(2):
        verdict = look(Down(), site, minutes=30)
    assert verdict.finding is Finding.FIRING
    assert verdict.reason == "Down for 30 minutes. no answer"


# --- Slow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "limit_ms", "finding"),
    [
        ("median", 299, Finding.FIRING),
        ("median", 300, Finding.CLEAR),
        ("p95", 4999, Finding.FIRING),
        ("p95", 5000, Finding.CLEAR),
        ("latest", 99, Finding.FIRING),
        ("latest", 100, Finding.CLEAR),
    ],
)
def test_the_statistic_that_is_asked_for_is_compared(
    add_site: AddSite, add_point: AddPoint, statistic: str, limit_ms: int, finding: Finding
) -> None:
    site = add_site()
    latencies_ms = (9999, 300, 5000, None, 400, 200, 100)
    for minutes, latency_ms in zip((60, 50, 40, 35, 30, 20, 10), latencies_ms, strict=True):
        data = None if latency_ms is None else {"latency_ms": latency_ms}
        add_point(site, NOW - minutes * MINUTE, "up", data=data)
    verdict = look(Slow(), site, statistic=statistic, limit_ms=limit_ms, minutes=60)
    assert verdict.finding is finding


def test_too_few_answers_are_not_judged(add_site: AddSite, add_point: AddPoint) -> None:
    site = add_site()
    add_point(site, NOW - MINUTE, "up", data={"latency_ms": 9000})
    verdict = look(Slow(), site)
    assert verdict.finding is Finding.UNKNOWN
    assert verdict.reason == "1 answers in 1 hour are too few to judge; 3 are needed."
    assert look(Slow(), site, statistic="latest").finding is Finding.FIRING


# --- About to expire ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "what", "finding", "words"),
    [
        ({"tls_expires_at": "2026-06-15T12:00:00.000Z"}, "both", Finding.FIRING, "ends in 14 days"),
        ({"tls_expires_at": "2026-06-15T12:01:00.000Z"}, "both", Finding.CLEAR, "ends in 14 days"),
        ({"tls_expires_at": "2026-05-31T10:00:00.000Z"}, "tls", Finding.FIRING, "ended 1 day 2 hours ago"),
        (
            {"tls_expires_at": "2027-06-15T12:00:00Z", "credentials_expire_at": "2026-06-02T12:00:00Z"},
            "both", Finding.FIRING, "The credential ends in 1 day",
        ),
        ({"credentials_expire_at": "2026-06-02T12:00:00Z"}, "tls", Finding.UNKNOWN, "Nothing"),
        ({"tls_expires_at": None}, "both", Finding.UNKNOWN, "Nothing that ends is known"),
    ],
)  # fmt: skip
def test_what_ends_within_so_many_days_fires(
    add_site: AddSite,
    add_point: AddPoint,
    data: dict[str, Any],
    what: str,
    finding: Finding,
    words: str,
) -> None:
    site = add_site()
    add_point(site, NOW - MINUTE, "up", data=data)
    verdict = look(Expiry(), site, what=what)
    assert verdict.finding is finding
    assert words in verdict.reason


def test_a_site_that_was_not_measured_of_late_says_nothing_of_its_certificate(
    add_site: AddSite, add_point: AddPoint
) -> None:
    site = add_site()
    add_point(site, NOW - timedelta(days=3), "up", data={"tls_expires_at": "2026-06-02T12:00:00Z"})
    add_point(site, NOW, "unavailable")
    assert look(Expiry(), site).finding is Finding.UNKNOWN


# --- Job overdue ----------------------------------------------------------------------------------


def succeed(job_key: str, at: datetime, status: str = "succeeded") -> None:
    JobRun.objects.create(
        job_key=job_key, trigger="schedule", status=status, started_at=at, lease_expires_at=at
    )


@pytest.fixture
def sync_row(db: None) -> ScheduledJob:
    """The schedule of the sync, every quarter of an hour, as it was long ago."""
    row = default_row(registry["sync-sites"])
    ScheduledJob.objects.bulk_create([row])
    ScheduledJob.objects.update(updated_at=NOW - timedelta(days=9))
    return row


def overdue(now: datetime, **options: Any) -> dict[str, Verdict]:
    kind = Overdue()
    complete = kind.options(options)
    found = kind.read(complete, [], now - kind.lookback(complete), now)
    return {target.subject: kind.judge(complete, it, now) for target, it in found.items()}


def test_a_job_is_overdue_when_its_schedule_should_have_run_it_long_ago(
    sync_row: ScheduledJob, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    succeed("sync-sites", NOW - 20 * MINUTE)
    succeed("sync-sites", NOW - 5 * MINUTE, "failed")
    succeed("sync-sites", NOW - 4 * MINUTE, "skipped")
    # After 11:40 it was due at 11:45.
    with django_assert_num_queries(3):
        (verdict,) = overdue(NOW, minutes=16).values()
    assert verdict.finding is Finding.CLEAR
    (verdict,) = overdue(NOW, minutes=15).values()
    assert verdict.finding is Finding.FIRING
    assert verdict.reason == (
        "SoloBoard Data Sync last succeeded 20 minutes ago, and was due 15 minutes ago."
    )


def test_a_job_that_never_succeeded_is_overdue_and_one_that_was_just_resumed_is_not(
    sync_row: ScheduledJob,
) -> None:
    (verdict,) = overdue(NOW).values()
    assert verdict.finding is Finding.FIRING
    assert "has never succeeded" in verdict.reason
    ScheduledJob.objects.update(updated_at=NOW - MINUTE)
    (verdict,) = overdue(NOW).values()
    assert verdict.finding is Finding.CLEAR


def test_paused_schedules_and_other_jobs_are_left_out(sync_row: ScheduledJob) -> None:
    assert set(overdue(NOW, job="evaluate-alerts")) == set()
    assert set(overdue(NOW)) == {"sync-sites"}
    ScheduledJob.objects.update(enabled=False)
    assert overdue(NOW) == {}
