from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from scheduling.models import ScheduledJob
from sites.models import Incident, MonitoredSite, SiteSnapshot, SyncLog
from soloboard.courses import DAYS
from soloboard.dashboard import site_cards, sync_health
from soloboard.incidents import SHOWN, open_incidents
from tests.browser.world import build_world, site

# WhiteNoise misses the folder of `collectstatic`, which tests do without.
pytestmark = pytest.mark.django_db

State = MonitoredSite.State
NOW = datetime(2026, 3, 4, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    return client


def board(client: Client) -> str:
    return client.get("/", headers={"HX-Request": "true"}).content.decode()


# --- Who sees it ----------------------------------------------------------------------------------


def test_anonymous_visitor_is_sent_to_the_login() -> None:
    response = Client().get("/")
    assert (response.status_code, response["Location"]) == (302, "/admin/login/?next=/")


def test_user_who_is_not_staff_is_sent_to_the_login() -> None:
    client = Client()
    client.force_login(User.objects.create_user("customer"))
    assert client.get("/").status_code == 302


def test_refresh_after_the_session_has_ended_reloads_the_page() -> None:
    response = Client().get("/", headers={"HX-Request": "true"})
    assert (response["HX-Refresh"], response.content) == ("true", b"")


def test_refresh_answers_with_the_board_alone(staff: Client) -> None:
    assert "<html" in staff.get("/").content.decode()
    assert "<html" not in board(staff)


def test_board_is_never_cached(staff: Client) -> None:
    assert "no-store" in staff.get("/")["Cache-Control"]


# --- Queries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 40])
def test_number_of_queries_does_not_grow_with_the_sites(
    count: int, staff: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    build_world()
    for number in range(count):
        site(f"Site {number}", timezone.now(), attempts=3)
    # Session, user; open incidents; sites, their hours, their days; the last sync, two periods; actions,
    # embeddings, the active version; schedules, their last runs.
    with django_assert_num_queries(14):
        assert staff.get("/").status_code == 200


def test_a_page_shows_the_course_of_its_last_day() -> None:
    site("Old", NOW, attempts=200, failures_from=200)
    (card,) = site_cards(NOW)
    course = card.figures[0].course
    assert course is not None
    assert course.words.startswith("Latency over 24 hours: ")
    assert course.words.endswith("failures in 0 of 25.")


def test_a_business_shows_the_course_of_its_last_whole_days() -> None:
    site("Shop", NOW, platform="custom_json", visitors=400, revenue_minor={"EUR": 5000})
    (card,) = site_cards(NOW)
    courses = {figure.label: figure.course for figure in card.figures if figure.course}
    assert set(courses) == {"Visitors", "Revenue, EUR"}
    assert courses["Visitors"].words.startswith(f"Visitors over {DAYS - 1} days: ")
    # Two days are a gap.
    assert courses["Visitors"].line.count("M") == 2


# --- Sites ----------------------------------------------------------------------------------------


def test_what_needs_a_look_comes_first() -> None:
    site("A is fine", NOW)
    site("B is slow", NOW, state=State.SLOW)
    site("C is down", NOW, state=State.DOWN)
    disabled = site("D is off", NOW, state=State.DOWN)
    MonitoredSite.objects.filter(pk=disabled.pk).update(enabled=False)
    with time_machine.travel(NOW, tick=False):
        names = [card.site.name for card in site_cards(NOW)]
    assert names == ["C is down", "B is slow", "A is fine", "D is off"]


@pytest.mark.parametrize(("minutes", "is_late"), [(0, False), (15, False), (16, True), (600, True)])
def test_figures_older_than_a_quarter_of_an_hour_are_late(minutes: int, is_late: bool) -> None:
    site("Site", NOW, age=timedelta(minutes=minutes))
    with time_machine.travel(NOW, tick=False):
        assert [card.is_late for card in site_cards(NOW)] == [is_late]


def test_site_that_was_never_synced_is_late_unless_it_is_disabled() -> None:
    MonitoredSite.objects.create(name="New", platform="uptime")
    MonitoredSite.objects.create(name="Off", platform="uptime", enabled=False)
    assert [card.is_late for card in site_cards(NOW)] == [True, False]


def test_good_state_that_nothing_has_confirmed_is_shown_as_stale(staff: Client) -> None:
    site("Site", timezone.now(), age=timedelta(hours=2))
    assert '<span class="pill warn">stale</span>' in board(staff)


def test_what_should_be_changed_is_said_on_the_card(staff: Client) -> None:
    site("Shop", timezone.now(), notices=["This key may do <everything>."])
    assert board(staff).count("This key may do &lt;everything&gt;.") == 2


def test_currencies_are_never_added_up() -> None:
    site("Shop", NOW, platform="custom_json", revenue_minor={"EUR": 129_900, "JPY": 91_200})
    (card,) = site_cards(NOW)
    assert [(figure.label, figure.value) for figure in card.figures[:2]] == [
        ("Revenue, EUR", "1,299.00 EUR"),
        ("Revenue, JPY", "91,200 JPY"),
    ]


def test_zero_visitors_are_shown_and_unknown_ones_are_not() -> None:
    site("Known", NOW, platform="custom_json", visitors=0)
    site("Unknown", NOW, platform="custom_json", visitors=None, revenue_minor={"EUR": 1})
    shown = {card.site.name: [figure.label for figure in card.figures] for card in site_cards(NOW)}
    assert shown == {"Known": ["Visitors", "Latency"], "Unknown": ["Revenue, EUR", "Latency"]}


def test_hours_with_failures_are_marked_and_those_without_latency_are_gaps() -> None:
    site("Site", NOW, state=State.UNAVAILABLE, failures_from=90)
    (card,) = site_cards(NOW)
    course = card.figures[0].course
    assert course is not None
    # The last six attempts lie in two hours, and the newest stands for now.
    assert course.failures.count("M") == 3
    assert course.words.endswith("failures in 3 of 25.")


def test_attempts_while_our_own_network_was_away_are_gaps_and_no_failures() -> None:
    site("Site", NOW, state=State.OFFLINE, failures_from=90)
    (card,) = site_cards(NOW)
    course = card.figures[0].course
    assert course is not None
    assert course.failures == ""
    assert SiteSnapshot.objects.filter(data__isnull=True).count() == 6


def test_text_of_other_people_is_escaped(staff: Client) -> None:
    reason = "<script>alert(1)</script>"
    site("<b>Site</b>", timezone.now(), state=State.DOWN, reason=reason)
    page = board(staff)
    assert "<b>Site" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


# --- Incidents ------------------------------------------------------------------------------------


def opened(row: MonitoredSite | None, minutes: int, **fields: Any) -> Incident:
    opened_at = timezone.now() - timedelta(minutes=minutes)
    return Incident.objects.create(site=row, opened_at=opened_at, **{"state": "down"} | fields)


def test_open_incidents_are_lines_with_their_durations_that_of_our_network_first(
    staff: Client,
) -> None:
    closed_at = timezone.now()
    rows = [site(name, timezone.now()) for name in ("Older", "Newer", "Closed")]
    opened(rows[1], 5, reason="<b>no</b> answer")
    opened(rows[0], 61)
    opened(rows[2], 600, closed_at=closed_at)
    opened(None, 2, state="offline")
    shown = open_incidents()
    assert [str(entry.incident) for entry in shown.shown] == [
        "our own network: our own network is away",
        "Older: down",
        "Newer: down",
    ]
    assert shown.more == 0
    page = board(staff)
    assert "Open incidents" in page
    assert ">1\xa0hour, 1\xa0minute</time>" in page
    assert "&lt;b&gt;no&lt;/b&gt; answer" in page


def test_without_open_incidents_there_is_no_word_of_them(staff: Client) -> None:
    opened(site("Site", timezone.now()), 600, closed_at=timezone.now())
    assert "incident" not in board(staff)


def test_of_many_incidents_a_few_are_shown_and_the_rest_counted(
    staff: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(SHOWN + 3):
        opened(MonitoredSite.objects.create(name=str(number), platform="uptime"), number)
    with django_assert_num_queries(1):
        shown = open_incidents()
    assert (len(shown.shown), shown.more) == (SHOWN, 3)
    assert "and 3 more" in board(staff)


# --- Syncs and jobs -------------------------------------------------------------------------------


def log(age: timedelta, **fields: object) -> None:
    SyncLog.objects.create(created_at=NOW - age, **fields)


def test_health_counts_the_day_and_the_week() -> None:
    log(timedelta(hours=1), status="success", sites_synced=9, sites_failed=0, duration=100)
    log(timedelta(hours=2), status="partial", sites_synced=8, sites_failed=1, duration=300)
    log(timedelta(days=3), status="failed", sites_synced=0, sites_failed=2, duration=None)
    log(timedelta(days=8), status="failed", sites_synced=0, sites_failed=50, duration=9000)
    log(timedelta(minutes=1), status="running", sites_synced=1)
    day, week = sync_health(NOW)
    assert (day.runs, day.failed_runs, day.errors, day.average_ms) == (2, 0, 1, 200)
    assert day.success_percent == 94.4
    assert (week.runs, week.failed_runs, week.errors, week.average_ms) == (3, 1, 3, 200)
    assert week.success_percent == 85.0


def test_success_rate_is_not_rounded_up_to_all() -> None:
    log(timedelta(hours=1), status="partial", sites_synced=99_999, sites_failed=1)
    assert sync_health(NOW)[0].success_percent == 99.9


def test_nothing_synced_has_no_success_rate() -> None:
    assert [period.success_percent for period in sync_health(NOW)] == [None, None]


def test_jobs_show_their_last_run_their_next_and_what_qstash_has(staff: Client) -> None:
    build_world()
    page = board(staff)
    assert "Every 15 minutes" in page
    assert "Nightly backup of everything that matters" in page
    assert "At 02:30, Monday through Friday (Europe/Vienna)" in page
    assert '<span class="pill bad">not pushed</span>' in page
    assert '<span class="pill good">succeeded</span>' in page
    assert "when it is resumed" in page


def test_error_of_a_push_that_has_succeeded_since_is_not_shown(staff: Client) -> None:
    build_world()
    job = ScheduledJob.objects.get(key="nightly-backup")
    assert job.push_error in board(staff).replace("&#x27;", "'")
    ScheduledJob.objects.filter(pk=job.pk).update(
        push_status=ScheduledJob.Push.PUSHED, pushed_fingerprint=job.fingerprint()
    )
    assert job.push_error not in board(staff)


def test_empty_installation_says_what_to_do_first(staff: Client) -> None:
    page = board(staff)
    assert "Add the first site" in page
    assert "No sync has come in yet" in page
    assert "init_qstash" in page
