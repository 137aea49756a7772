"""The roll-up and the syncs write the same days at the same time."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection

from sites.attempts import Attempt, State
from sites.history.rollup import roll_up
from sites.models import MonitoredSite, SiteDay, SyncLog
from sites.writing import write
from tests.sites.history.points import at

SITES = 60
ROUNDS = 20


@pytest.mark.django_db(transaction=True)
def test_neither_waits_for_the_other_for_ever() -> None:
    sites = MonitoredSite.objects.bulk_create(
        MonitoredSite(name=str(number), platform="custom_json") for number in range(SITES)
    )
    ids = [site.pk for site in sites]
    log = SyncLog.objects.create()
    errors: list[Exception] = []

    def repeatedly(work: Callable[[int], None]) -> None:
        try:
            for number in range(ROUNDS):
                work(number)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    def sync(number: int) -> None:
        # Not in the order in which the roll-up goes.
        write([_attempt(site, number) for site in reversed(sites)], log)

    threads = [
        threading.Thread(target=repeatedly, args=[work])
        for work in (sync, lambda number: roll_up(ids), lambda number: roll_up(ids[::-1]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    roll_up(ids)
    days = SiteDay.objects.filter(day="2026-03-04")
    assert set(days.values_list("attempts", "sales")) == {(ROUNDS, ROUNDS - 1)}


def _attempt(site: MonitoredSite, number: int) -> Attempt:
    # A day that the roll-up writes and the platform tells too; each time in a new hour.
    made_at = at("2026-03-04 00:05") + timedelta(hours=number)
    days = [
        {"day": f"2026-03-0{day}", "visitors": None, "sales": number,
         "revenue_minor": None, "metrics": None}
        for day in (2, 3, 4)
    ]  # fmt: skip
    snapshot = json.dumps({"visitors": number, "sales": number, "revenue_minor": {}, "metrics": {}})
    return Attempt(
        site=site, made_at=made_at, state=State.UP, snapshot=snapshot, days=json.dumps(days)
    )
