from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from scheduling import retention
from scheduling.models import JobRun
from scheduling.runner import Call, Ending, run_job
from sites.models import SyncLog
from tests.scheduling.work import Work

pytestmark = pytest.mark.django_db


def runs(
    count: int, *, job_key: str = "often", age_days: float = 0, status: str = "succeeded"
) -> None:
    """Write so many runs; the first is the newest."""
    newest = timezone.now() - timedelta(days=age_days)
    JobRun.objects.bulk_create(
        JobRun(
            job_key=job_key,
            trigger="schedule",
            status=status,
            started_at=newest - timedelta(seconds=5 * number),
            lease_expires_at=newest,
        )
        for number in range(count)
    )


def test_of_a_job_that_runs_often_the_newest_runs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "KEPT_PER_JOB", 12)
    runs(30)
    runs(5, job_key="seldom")
    newest = list(JobRun.objects.filter(job_key="often").values_list("pk", flat=True)[:12])
    assert retention.prune() == 18
    assert list(JobRun.objects.filter(job_key="often").values_list("pk", flat=True)) == newest
    assert JobRun.objects.filter(job_key="seldom").count() == 5
    assert retention.prune() == 0


def test_old_runs_go_but_for_the_last_ones_of_a_job() -> None:
    runs(15, age_days=31)
    runs(15, job_key="often too", age_days=29)
    assert retention.prune() == 5
    assert JobRun.objects.filter(job_key="often").count() == 10
    assert JobRun.objects.filter(job_key="often too").count() == 15


def test_a_round_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROUND", 3)
    runs(15, age_days=31)
    assert [retention.prune() for _ in range(3)] == [3, 2, 0]


def test_a_run_that_goes_on_is_kept_and_what_points_to_a_removed_one_stays() -> None:
    runs(11, age_days=31)
    runs(1, age_days=32, status="running")
    oldest = JobRun.objects.filter(status="succeeded").last()
    log = SyncLog.objects.create(run=oldest)
    assert retention.prune() == 1
    log.refresh_from_db()
    assert log.run is None
    assert JobRun.objects.filter(status="running").exists()


def test_it_comes_with_a_run_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    monkeypatch.setattr(retention, "_next_round", 0.0)
    monkeypatch.setattr(retention, "prune", lambda: rounds.append(1))
    for _ in range(3):
        run_job(Work().job(), Call(trigger=JobRun.Trigger.COMMAND))
    assert rounds == [1]


def test_a_run_does_not_fail_when_old_ones_cannot_be_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> int:
        raise OperationalError("gone")

    monkeypatch.setattr(retention, "_next_round", 0.0)
    monkeypatch.setattr(retention, "prune", fail)
    outcome = run_job(Work().job(), Call(trigger=JobRun.Trigger.COMMAND))
    assert outcome.ending is Ending.DONE


def test_runs_of_dead_processes_are_closed() -> None:
    runs(1, status="running", age_days=1)
    runs(1, job_key="goes on", status="running", age_days=-1)
    assert retention.abandon_dead() == 1
    dead = JobRun.objects.get(status="abandoned")
    assert (dead.job_key, dead.error) == (
        "often",
        "The process died; the lease of the run has ended.",
    )
    assert dead.finished_at is not None
