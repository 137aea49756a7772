"""A sync of more sites than one chunk: the messages are taken by a server of the test, and delivered
by the test as it likes.
"""

import json
import random
import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.run import Run
from scheduling.runner import Call, Ending, Outcome, run_job
from sites import chunks
from sites.chunks import SYNC_CHUNK
from sites.jobs import SYNC_SITES
from sites.models import MonitoredSite, SiteSnapshot, SyncChunk, SyncLog
from sites.outbound import Client
from sites.platforms.base import FetchRequest, Health, PlatformUnavailable, Snapshot
from sites.sync import sync_chunk
from tests.sites.conftest import AddScript, InThreads
from tests.sites.loopback import Request, http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

SITES = 25
CHUNKS = 5
BATCH = "/v2/batch"


async def at_once(request: FetchRequest, client: Client) -> Snapshot:
    return Snapshot(taken_at=request.now, health=Health.UP)


async def failing(request: FetchRequest, client: Client) -> Snapshot:
    raise PlatformUnavailable("away")


class Messages:
    """What QStash was given, and its delivery."""

    def __init__(self, website: Website) -> None:
        self._website = website
        self._delivered = 0

    @property
    def published(self) -> list[dict[str, Any]]:
        batches = [request for request in self._website.requests if request.target == BATCH]
        return [message for batch in batches for message in json.loads(batch.body)]

    @property
    def payloads(self) -> list[dict[str, Any]]:
        return [json.loads(message["body"]) for message in self.published]

    def deliver(self, payload: dict[str, Any]) -> Outcome:
        """As a message of its own, whatever was delivered before."""
        self._delivered += 1
        message_id = f"msg_{self._delivered}"
        call = Call(trigger=JobRun.Trigger.MESSAGE, payload=payload, message_id=message_id)
        return run_job(registry[SYNC_CHUNK], call)


def receipts(request: Request) -> bytes:
    return http(json.dumps([{"messageId": "msg"} for _ in json.loads(request.body)]))


@pytest.fixture
def messages(
    website: Website, settings: Settings, monkeypatch: pytest.MonkeyPatch, script: AddScript
) -> Messages:
    """A QStash that takes messages, and five times as many sites as go into one."""
    monkeypatch.setattr(chunks, "CHUNK_SIZE", SITES // CHUNKS)
    settings.QSTASH_URL = website.url().rstrip("/")
    website.pages[BATCH] = receipts
    script(it=at_once, bad=failing)
    add_sites(SITES)
    return Messages(website)


def add_sites(count: int, fetch: str = "it") -> None:
    MonitoredSite.objects.bulk_create(
        MonitoredSite(name=f"{fetch}-{number}", platform="scripted", options={"fetch": fetch})
        for number in range(count)
    )


def sync(*, in_process: bool = False, **payload: Any) -> Outcome:
    call = Call(trigger=JobRun.Trigger.SCHEDULE, payload=payload, in_process=in_process)
    return run_job(registry[SYNC_SITES], call)


def result_of(outcome: Outcome) -> dict[str, int]:
    assert outcome.ending is Ending.DONE, outcome
    result = dict(outcome.answer["result"]) if outcome.answer else {}
    del result["duration"]
    return result


def only_log() -> SyncLog:
    return SyncLog.objects.get()


def counts_of(log: SyncLog) -> tuple[int, int, int, int]:
    """total, synced, failed, carried over; what was counted is what stands in the history."""
    log.refresh_from_db()
    attempts = log.results.count()
    assert attempts == log.results.values("site").distinct().count()
    assert attempts == log.sites_synced + log.sites_failed
    assert log.sites_total == attempts + log.sites_carried_over
    return log.sites_total, log.sites_synced, log.sites_failed, log.sites_carried_over


# --- All goes well --------------------------------------------------------------------------------


def test_many_sites_become_messages_and_the_answer_says_so(
    messages: Messages, settings: Settings
) -> None:
    outcome = sync()
    assert result_of(outcome) == {"total": 25, "success": 0, "failed": 0, "handed_on": 25}
    assert outcome.answer
    assert outcome.answer["message"] == "Site data sync handed on in chunks"
    log = only_log()
    assert (log.status, counts_of(log)) == (SyncLog.Status.RUNNING, (25, 0, 0, 25))
    assert messages.payloads == [{"log": log.pk, "chunk": number} for number in range(CHUNKS)]
    ids = set()
    for message in messages.published:
        headers = {name.lower(): value for name, value in message["headers"].items()}
        assert message["destination"] == f"{settings.APP_URL}/api/cron/sync-chunk"
        assert headers["upstash-method"] == "POST"
        assert headers["upstash-timeout"] == "70s"
        assert headers["upstash-flow-control-value"] == "parallelism=4"
        ids.add(headers["upstash-deduplication-id"])
    assert len(ids) == CHUNKS


def test_with_the_last_chunk_the_log_is_closed(messages: Messages) -> None:
    MonitoredSite.objects.filter(name="it-7").update(options={"fetch": "bad"})
    sync()
    for payload in messages.payloads:
        assert only_log().status == SyncLog.Status.RUNNING
        outcome = messages.deliver(payload)
        assert result_of(outcome)["total"] == 5
        assert outcome.continuation is None
    log = only_log()
    assert (log.status, counts_of(log)) == (SyncLog.Status.PARTIAL, (25, 24, 1, 0))
    assert log.errors == {"it-7": "away"}
    assert log.duration is not None
    assert not SyncChunk.objects.exists()


def test_as_many_sites_as_one_chunk_holds_are_synced_in_the_call(messages: Messages) -> None:
    MonitoredSite.objects.filter(pk__in=MonitoredSite.objects.values("pk")[5:]).delete()
    assert result_of(sync()) == {"total": 5, "success": 5, "failed": 0}
    assert messages.published == []


def test_a_selection_is_handed_on_as_well(messages: Messages) -> None:
    MonitoredSite.objects.update(enabled=False)
    chosen = [f"it-{number}" for number in range(10)]
    assert result_of(sync(sites=chosen))["handed_on"] == 10
    for payload in messages.payloads:
        messages.deliver(payload)
    attempted = MonitoredSite.objects.exclude(last_attempt_at=None)
    assert {site.name for site in attempted} == set(chosen)


def test_what_is_asked_for_in_a_process_is_done_there(messages: Messages) -> None:
    assert result_of(sync(in_process=True)) == {"total": 25, "success": 25, "failed": 0}
    assert messages.published == []
    assert only_log().status == SyncLog.Status.SUCCESS


# --- QStash does not take the messages ------------------------------------------------------------


def test_when_qstash_refuses_the_call_syncs_what_it_can(
    messages: Messages, website: Website
) -> None:
    website.pages[BATCH] = http("{}", status=500)
    assert result_of(sync()) == {"total": 25, "success": 25, "failed": 0}
    assert (only_log().status, counts_of(only_log())) == (SyncLog.Status.SUCCESS, (25, 25, 0, 0))
    assert not SyncChunk.objects.exists()


def test_what_qstash_took_before_it_went_away_is_left_to_the_messages(
    messages: Messages, website: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MESSAGES_AT_ONCE", 2)

    def once(request: Request) -> bytes:
        website.pages[BATCH] = http("{}", status=503)
        return receipts(request)

    website.pages[BATCH] = once
    assert result_of(sync()) == {"total": 25, "success": 15, "failed": 0, "handed_on": 10}
    assert only_log().status == SyncLog.Status.RUNNING
    for payload in messages.payloads[:2]:
        assert result_of(messages.deliver(payload))["success"] == 5
    assert (only_log().status, counts_of(only_log())) == (SyncLog.Status.SUCCESS, (25, 25, 0, 0))
    # The messages of which QStash did not say that it took them, if it did.
    for payload in messages.payloads[2:]:
        assert result_of(messages.deliver(payload))["total"] == 0


# --- Twice, late, never ---------------------------------------------------------------------------


def test_a_chunk_that_comes_twice_is_counted_once(messages: Messages) -> None:
    sync()
    for payload in messages.payloads[:4]:
        assert [result_of(messages.deliver(payload))["success"] for _ in range(2)] == [5, 0]
    assert counts_of(only_log()) == (25, 20, 0, 5)
    messages.deliver(messages.payloads[4])
    assert counts_of(only_log()) == (25, 25, 0, 0)
    assert messages.deliver(messages.payloads[4]).ending is Ending.DONE
    assert SiteSnapshot.objects.count() == 25


def test_the_sites_of_a_chunk_that_never_comes_are_taken_up_by_the_next_run(
    messages: Messages,
) -> None:
    sync()
    first = only_log()
    for payload in messages.payloads[1:]:
        messages.deliver(payload)
    due = MonitoredSite.objects.due(now=timezone.now(), attempted_before=first.created_at)
    assert due.count() == 5
    SyncLog.objects.update(created_at=timezone.now() - timedelta(minutes=15))
    sync()
    assert counts_of(first) == (25, 20, 0, 5)
    assert first.status == SyncLog.Status.PARTIAL
    assert first.chunks.count() == 0
    second = SyncLog.objects.latest("pk")
    for payload in messages.payloads[CHUNKS:]:
        messages.deliver(payload)
    assert counts_of(second) == (25, 25, 0, 0)


def test_a_log_of_which_no_chunk_came_is_closed_as_failed(messages: Messages) -> None:
    sync()
    first = only_log()
    SyncLog.objects.update(created_at=timezone.now() - timedelta(minutes=15))
    sync()
    assert counts_of(first) == (25, 0, 0, 25)
    assert first.status == SyncLog.Status.FAILED
    # It comes after all, but the next run has its sites.
    assert result_of(messages.deliver(messages.payloads[0]))["total"] == 0
    assert counts_of(first) == (25, 0, 0, 25)


def test_a_late_chunk_leaves_what_the_next_run_has_attempted(messages: Messages) -> None:
    sync()
    first = only_log()
    sync()
    second = SyncLog.objects.latest("pk")
    of_first, of_second = messages.payloads[:CHUNKS], messages.payloads[CHUNKS:]
    for payload in of_second[:3]:
        assert result_of(messages.deliver(payload))["success"] == 5
    for payload in of_first:
        messages.deliver(payload)
    for payload in of_second[3:]:
        assert result_of(messages.deliver(payload))["success"] == 0
    assert counts_of(first) == (25, 10, 0, 15)
    assert counts_of(second) == (25, 15, 0, 10)
    assert {first.status, second.status} == {SyncLog.Status.SUCCESS}
    assert SiteSnapshot.objects.count() == 25


def test_what_is_written_after_the_log_was_closed_is_counted_in_it(
    messages: Messages,
) -> None:
    sync()
    log = only_log()
    chunk = SyncChunk.objects.get(number=0)
    SyncLog.objects.update(created_at=log.created_at - timedelta(minutes=15))
    SyncLog.close_left_open(timezone.now())
    log.refresh_from_db()
    assert log.status == SyncLog.Status.FAILED
    log.count(synced=len(chunk.site_ids), failed=0, errors={})
    log.refresh_from_db()
    assert (log.status, log.sites_synced, log.sites_carried_over) == (SyncLog.Status.PARTIAL, 5, 20)


def test_sites_that_another_run_is_fetching_are_waited_for(messages: Messages) -> None:
    sync()
    other = JobRun.objects.create(
        job_key="other", trigger="api", lease_expires_at=timezone.now() + timedelta(minutes=1)
    )
    chunk = SyncChunk.objects.get(number=0)
    held = MonitoredSite.objects.filter(pk=chunk.site_ids[0])
    held.update(claimed_by=other.pk)
    outcome = messages.deliver(messages.payloads[0])
    assert (outcome.ending, outcome.retry_after_s) == (Ending.RETRY_LATER, 60)
    assert counts_of(only_log()) == (25, 4, 0, 21)
    # It ended without having come to this one.
    other.close(status=JobRun.Status.FAILED)
    assert result_of(messages.deliver(messages.payloads[0])) == {
        "total": 1, "success": 1, "failed": 0,
    }  # fmt: skip
    assert counts_of(only_log()) == (25, 5, 0, 20)


def test_what_a_dead_process_had_is_taken_over_when_its_lease_has_ended(messages: Messages) -> None:
    sync()
    chunk = SyncChunk.objects.get(number=0)
    dead = JobRun.objects.create(
        job_key=SYNC_CHUNK, trigger="message", concurrent=True, message_id="its",
        lease_expires_at=timezone.now() + timedelta(seconds=90),
    )  # fmt: skip
    MonitoredSite.objects.filter(pk__in=chunk.site_ids).update(claimed_by=dead.pk)
    call = Call(
        trigger=JobRun.Trigger.REDELIVERY, payload=messages.payloads[0], message_id="its", attempt=2
    )
    assert run_job(registry[SYNC_CHUNK], call).ending is Ending.STILL_RUNNING
    JobRun.objects.filter(pk=dead.pk).update(lease_expires_at=timezone.now())
    assert result_of(run_job(registry[SYNC_CHUNK], call))["success"] == 5


def test_a_chunk_that_runs_out_of_time_is_continued(messages: Messages) -> None:
    sync()
    (payload, *_) = messages.payloads
    record = JobRun.objects.create(
        job_key=SYNC_CHUNK,
        trigger="message",
        lease_expires_at=timezone.now() + timedelta(minutes=1),
    )
    result = sync_chunk(
        Run(
            id=record.pk,
            payload=payload,
            deadline=time.monotonic(),
            report=lambda done, total: None,
        )
    )
    record.close(status=JobRun.Status.SUCCEEDED)
    assert dict(result.counts) == {"total": 5, "success": 0, "failed": 0, "carried_over": 5}
    assert result.continuation == payload
    assert result_of(messages.deliver(payload))["success"] == 5


@pytest.mark.parametrize(
    "payload",
    [{}, {"log": 1}, {"log": 1, "chunk": 0, "more": 1}, {"log": "1", "chunk": 0},
     {"log": True, "chunk": 0}, {"log": 1, "chunk": -1}, {"log": 2**31, "chunk": 0}],
)  # fmt: skip
def test_a_message_that_names_no_chunk_is_refused(payload: dict[str, Any]) -> None:
    outcome = run_job(registry[SYNC_CHUNK], Call(trigger=JobRun.Trigger.MESSAGE, payload=payload))
    assert outcome.ending is Ending.REFUSED
    assert "'log' and 'chunk'" in outcome.error


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_to_the_messages_all_logs_add_up_and_no_site_is_lost(
    messages: Messages, seed: int
) -> None:
    """Runs, messages in any order and number, processes that die with claims in their hands."""
    luck = random.Random(seed)  # noqa: S311 - not a secret
    MonitoredSite.objects.filter(name__in=["it-3", "it-11"]).update(options={"fetch": "bad"})
    sync()
    for _ in range(40):
        happening = luck.choice(["deliver"] * 6 + ["die", "sync", "time passes"])
        if happening == "deliver":
            messages.deliver(luck.choice(messages.payloads))
        elif happening == "die":
            die_with(luck.sample(list(MonitoredSite.objects.values_list("pk", flat=True)), 7))
        elif happening == "sync":
            sync()
        else:
            logs = SyncLog.objects.filter(
                pk=luck.choice(SyncLog.objects.values_list("pk", flat=True))
            )
            logs.update(created_at=F("created_at") - timedelta(minutes=15))
        for log in SyncLog.objects.all():
            counts_of(log)
    MonitoredSite.objects.update(not_before=None)
    sent = len(messages.payloads)
    sync()
    last = SyncLog.objects.latest("pk")
    for payload in messages.payloads[sent:]:
        messages.deliver(payload)
    assert counts_of(last) == (25, 23, 2, 0)
    assert last.status == SyncLog.Status.PARTIAL


def die_with(site_ids: list[int]) -> None:
    """Leave what a process leaves that was killed so long ago that its lease has ended."""
    dead = JobRun.objects.create(
        job_key=SYNC_CHUNK, trigger="message", concurrent=True, lease_expires_at=timezone.now()
    )
    MonitoredSite.objects.filter(pk__in=site_ids).update(claimed_by=dead.pk)


# --- The log --------------------------------------------------------------------------------------


def test_of_very_many_errors_the_log_names_the_first_and_counts_all(
    messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_sites(150, "bad")
    monkeypatch.setattr("sites.sync.WRITTEN_AT_ONCE", 40)
    sync(in_process=True)
    log = only_log()
    assert counts_of(log) == (175, 25, 150, 0)
    assert len(log.errors) == 100
    assert set(log.errors.values()) == {"away"}
    log.count(synced=0, failed=1, errors={"one more": "x" * 1000})
    log.refresh_from_db()
    assert len(log.errors) == 100


def test_an_endless_reason_is_cut(db: None) -> None:
    log = SyncLog.objects.create()
    log.count(synced=0, failed=1, errors={"shop": "é" * 10_000})
    log.refresh_from_db()
    assert log.errors == {"shop": "é" * 500}


# --- At the same instant --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_all_chunks_twice_at_the_same_instant_are_one_sync(
    messages: Messages, in_threads: InThreads
) -> None:
    sync()
    outcomes: list[Outcome] = []
    works = [
        lambda payload=payload, number=number: outcomes.append(
            run_job(
                registry[SYNC_CHUNK],
                Call(
                    trigger=JobRun.Trigger.MESSAGE,
                    payload=payload,
                    message_id=f"{number} {payload}",
                ),
            )
        )
        for payload in messages.payloads
        for number in range(2)
    ]
    in_threads(*works)
    assert {outcome.ending for outcome in outcomes} <= {Ending.DONE, Ending.RETRY_LATER}
    for payload in messages.payloads:
        messages.deliver(payload)
    log = only_log()
    assert (log.status, counts_of(log)) == (SyncLog.Status.SUCCESS, (25, 25, 0, 0))
    assert SiteSnapshot.objects.count() == 25
    assert not MonitoredSite.objects.exclude(claimed_by=None).exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_that_finish_at_the_same_instant_one_closes_the_log(in_threads: InThreads) -> None:
    for _ in range(30):
        log = SyncLog.objects.create()
        parts = [SyncChunk.objects.create(log=log, number=number, site_ids=[]) for number in (0, 1)]
        in_threads(*(partial(log.finish, [part]) for part in parts))
        log.refresh_from_db()
        assert log.status == SyncLog.Status.SUCCESS
        assert not log.chunks.exists()
