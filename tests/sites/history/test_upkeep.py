from typing import Any

import pytest
import time_machine

from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.run import Run
from scheduling.runner import Call, Ending, run_job
from sites.history import upkeep
from sites.jobs import ROLL_UP_HISTORY
from sites.models import SiteDay, SiteHour, SiteSnapshot
from tests.sites.history.points import at, point, shop

pytestmark = pytest.mark.django_db

NOW = at("2026-03-10 12:07")


def run(**payload: Any) -> Any:
    call = Call(trigger=JobRun.Trigger.SCHEDULE, payload=payload)
    with time_machine.travel(NOW, tick=False):
        return run_job(registry[ROLL_UP_HISTORY], call)


def test_the_job_proposes_an_hourly_schedule() -> None:
    job = registry[ROLL_UP_HISTORY]
    assert (job.path, job.cron, job.method) == ("cron/roll-up-history", "7 * * * *", "POST")


def test_a_run_rolls_up_every_site_and_then_removes_what_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upkeep, "ROUND", 2)
    for number in range(5):
        site = shop(name=str(number))
        for text in ("2026-01-10 10:05", "2026-03-10 10:05", "2026-03-10 12:05"):
            point(site, at(text))
    outcome = run()
    assert outcome.ending is Ending.DONE
    assert JobRun.objects.get().counts == {"sites": 5, "removed": 5}
    assert SiteSnapshot.objects.count() == 10
    assert (SiteHour.objects.count(), SiteDay.objects.count()) == (15, 10)


def test_what_the_time_does_not_suffice_for_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ROUND", 2)
    sites = [shop(name=str(number)) for number in range(5)]
    for site in sites:
        point(site, at("2026-03-10 10:05"))
    times_left = iter([300.0, 300.0, 10.0])
    monkeypatch.setattr("scheduling.run.Run.time_left_s", property(lambda run: next(times_left)))
    first = upkeep.keep_up(Run(id=1, payload={}, deadline=0, report=lambda done, total: None))
    assert first.continuation == {"after": sites[3].pk}
    assert SiteHour.objects.count() == 4
    monkeypatch.undo()
    assert run(**first.continuation).ending is Ending.DONE
    assert SiteHour.objects.count() == 5


@pytest.mark.parametrize("after", ["all", None, True, 1.5])
def test_a_payload_that_names_no_site_is_refused(after: object) -> None:
    assert run(after=after).ending is Ending.REFUSED
