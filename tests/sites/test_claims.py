import itertools
from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone

from scheduling.models import JobRun
from sites.claims import claim
from sites.models import MonitoredSite
from tests.sites.conftest import InThreads

pytestmark = pytest.mark.django_db


def open_run(*, lease_s: float = 60) -> JobRun:
    return JobRun.objects.create(
        job_key="test",
        concurrent=True,
        trigger="message",
        lease_expires_at=timezone.now() + timedelta(seconds=lease_s),
    )


def add_sites(count: int) -> list[int]:
    sites = MonitoredSite.objects.bulk_create(
        MonitoredSite(name=str(number), platform="uptime") for number in range(count)
    )
    return [site.pk for site in sites]


def claimed(site_ids: list[int], run: JobRun) -> list[int]:
    return [site.pk for site in claim(site_ids, run.pk, attempted_before=timezone.now())]


def test_what_one_run_has_no_other_gets() -> None:
    ids = add_sites(4)
    first, second = open_run(), open_run()
    assert claimed(ids[:3], first) == ids[:3]
    assert claimed(ids, second) == ids[3:]
    assert claimed(ids, first) == ids[:3]


@pytest.mark.parametrize("status", [JobRun.Status.SUCCEEDED, JobRun.Status.FAILED])
def test_a_run_that_has_ended_holds_nothing(status: JobRun.Status) -> None:
    ids = add_sites(1)
    ended = open_run()
    claimed(ids, ended)
    ended.close(status=status)
    assert claimed(ids, open_run()) == ids


def test_a_run_whose_lease_has_ended_holds_nothing() -> None:
    ids = add_sites(1)
    claimed(ids, open_run(lease_s=-1))
    assert claimed(ids, open_run()) == ids


def test_a_run_that_was_pruned_holds_nothing() -> None:
    ids = add_sites(1)
    pruned = open_run()
    claimed(ids, pruned)
    pruned.delete()
    assert claimed(ids, open_run()) == ids


def test_a_site_that_was_attempted_since_is_left_alone() -> None:
    ids = add_sites(2)
    begun = timezone.now()
    MonitoredSite.objects.filter(pk=ids[0]).update(last_attempt_at=begun)
    run = open_run()
    assert [site.pk for site in claim(ids, run.pk, attempted_before=begun)] == ids[1:]


def test_a_claimed_site_is_not_due() -> None:
    ids = add_sites(2)
    claimed(ids[:1], open_run())
    now = timezone.now()
    due = MonitoredSite.objects.due(now=now, attempted_before=now)
    assert [site.pk for site in due] == ids[1:]


@pytest.mark.django_db(transaction=True)
def test_of_runs_that_begin_and_claim_at_the_same_instant_each_site_goes_to_one(
    in_threads: InThreads,
) -> None:
    """The runs are opened in the threads, so that one may not yet stand in another's snapshot."""
    for _ in range(20):
        MonitoredSite.objects.all().delete()
        ids = add_sites(60)
        wanted = [ids[:40], ids[20:][::-1], ids, ids[::-1]]
        taken = itertools.chain.from_iterable(claimed_at_once(wanted, in_threads))
        assert sorted(taken) == ids


def claimed_at_once(wanted: list[list[int]], in_threads: InThreads) -> list[list[int]]:
    shares: list[list[int]] = []
    works = [
        partial(lambda part: shares.append(claimed(part, open_run())), part) for part in wanted
    ]
    in_threads(*works)
    return shares
