from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from alerts.models import Alert, AlertRule, Channel, Delivery
from recommendations.models import QuarantinedAction
from scheduling.models import ScheduledJob, ScheduleRemoval
from sites.incidents import close_unwatched
from sites.models import Incident, MonitoredSite
from soloboard.attention import notices
from tests.browser.world import build_world, site

pytestmark = pytest.mark.django_db


def texts() -> list[str]:
    return [notice.text for notice in notices()]


def test_everything_that_is_wrong_is_named_once_and_in_order() -> None:
    build_world()
    assert texts() == [
        "3 incidents: open, the longest for 1\xa0day",
        "1 site: down",
        "1 site: credentials refused",
        "1 site: needs your attention",
        "1 site: slow",
        "1 site: not synced for 30 minutes",
        "1 schedule: not at QStash in the version that is here",
        "1 run of jobs: failed in the last 24 hours",
    ]


def test_one_incident_says_how_long_it_has_lasted() -> None:
    opened_at = timezone.now() - timedelta(minutes=42)
    row = MonitoredSite.objects.create(name="Site", platform="uptime")
    Incident.objects.create(site=row, state="down", opened_at=opened_at)
    Incident.objects.create(site=row, state="down", opened_at=opened_at, closed_at=timezone.now())
    assert [notice.text for notice in notices() if "open=yes" in notice.url] == [
        "1 incident: open, for 42\xa0minutes"
    ]


def test_a_network_of_our_own_that_is_away_comes_first() -> None:
    build_world()
    opened_at = timezone.now() - timedelta(minutes=42)
    Incident.objects.create(site=None, state="offline", opened_at=opened_at)
    assert texts()[0] == (
        "Our own network has been away for 42\xa0minutes; the sites may well be up"
    )
    assert texts()[1].startswith("3 incidents")


def test_disabled_site_needs_no_attention() -> None:
    build_world()
    MonitoredSite.objects.update(enabled=False)
    close_unwatched()
    assert not [text for text in texts() if "site" in text or "incident" in text]


def test_installation_in_order_has_nothing_to_say() -> None:
    build_world()
    MonitoredSite.objects.all().delete()
    ScheduledJob.objects.filter(push_status=ScheduledJob.Push.FAILED).delete()
    ScheduleRemoval.objects.all().delete()
    assert texts() == ["1 run of jobs: failed in the last 24 hours"]


def test_missing_schedules_are_noticed() -> None:
    assert [text for text in texts() if "init_qstash" in text]


def test_schedule_that_qstash_has_not_forgotten_is_noticed() -> None:
    ScheduleRemoval.objects.create(schedule_id="soloboard-gone", last_error="QStash is away.")
    assert "The deleted schedule soloboard-gone is still at QStash. QStash is away." in texts()


def test_actions_in_quarantine_are_noticed_where_they_can_be_put_back() -> None:
    assert not [text for text in texts() if "quarantine" in text]
    for number in range(2):
        QuarantinedAction.objects.create(entry_id=str(number), raw=b"{", reason="No JSON.")
    (found,) = (notice for notice in notices() if "quarantine" in notice.text)
    assert found.text.startswith("2 actions in quarantine")
    assert found.url == reverse("admin:recommendations_quarantinedaction_changelist")


@pytest.mark.parametrize("count", [1, 30])
def test_number_of_queries_is_fixed(
    count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    build_world()
    for number in range(count):
        site(f"Site {number}", timezone.now(), age=timedelta(hours=1), attempts=1)
    with django_assert_num_queries(9):
        list(notices())


def test_open_alerts_and_messages_that_do_not_get_through_are_noticed() -> None:
    now = timezone.now()
    rule = AlertRule.objects.create(name="Jobs", kind="overdue")
    channel = Channel.objects.create(name="hook", kind="webhook")
    for closed_at in (None, now):
        Alert.objects.create(
            rule=rule, subject="sync-sites", opened_at=now, told_at=now, closed_at=closed_at
        )
    times: dict[str, Any] = {
        "channel": channel,
        "created_at": now,
        "due_at": now,
        "give_up_at": now,
    }
    for status, attempts in (
        ("failed", 9),
        ("waiting", 3),
        ("sending", 4),
        ("waiting", 2),
        ("sent", 5),
    ):
        Delivery.objects.create(status=status, attempts=attempts, **times)
    assert [text for text in texts() if "alert" in text] == [
        "1 alert: open",
        "1 message about alerts: not sent, and given up",
        "2 messages about alerts: still not sent after 3 tries or more",
    ]
