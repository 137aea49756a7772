from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from alerts.models import Alert, AlertRule, Channel, Delivery
from scheduling.models import ScheduledJob, ScheduleRemoval
from sites.models import MonitoredSite
from soloboard.attention import notices
from tests.browser.world import build_world, site

pytestmark = pytest.mark.django_db


def texts() -> list[str]:
    return [notice.text for notice in notices()]


def test_everything_that_is_wrong_is_named_once_and_in_order() -> None:
    build_world()
    assert texts() == [
        "1 site: down",
        "1 site: credentials refused",
        "1 site: needs your attention",
        "1 site: slow",
        "1 site: not synced for 30 minutes",
        "1 schedule: not at QStash in the version that is here",
        "1 run of jobs: failed in the last 24 hours",
    ]


def test_disabled_site_needs_no_attention() -> None:
    build_world()
    MonitoredSite.objects.update(enabled=False)
    assert not [text for text in texts() if "site" in text]


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


@pytest.mark.parametrize("count", [1, 30])
def test_number_of_queries_is_fixed(
    count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    build_world()
    for number in range(count):
        site(f"Site {number}", timezone.now(), age=timedelta(hours=1), attempts=1)
    with django_assert_num_queries(7):
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
