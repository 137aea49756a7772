import json
from typing import Any

import pytest
from pytest_django import Settings

from scheduling.models import JobRun
from scheduling.qstash import QStashAway
from scheduling.registry import registry
from scheduling.runner import Call, Ending, run_job
from sites.chunks import SYNC_CHUNK
from sites.jobs import SYNC_SITES, request_sync
from sites.models import MonitoredSite, SyncChunk, SyncLog
from sites.outbound import Client
from sites.platforms.base import FetchRequest, Health, Snapshot
from sites.platforms.uptime import MAX_TIMEOUT_S
from tests.sites.conftest import AddScript, AddSite
from tests.sites.loopback import http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db


def call(**payload: Any) -> Call:
    return Call(trigger=JobRun.Trigger.SCHEDULE, payload=payload)


def test_the_job_proposes_the_documented_schedule() -> None:
    job = registry[SYNC_SITES]
    assert (job.name, job.description) == (
        "SoloBoard Data Sync",
        "Sync all monitored sites every 15 minutes.",
    )
    assert (job.method, job.path) == ("GET", "cron/sync-sites")
    assert (job.cron, job.timezone) == ("*/15 * * * *", "UTC")
    assert (job.retries, job.retry_delay_ms, job.timeout_s) == (3, "60000", 300)


def test_a_run_answers_as_documented_and_leaves_its_log(
    add_site: AddSite, website: Website
) -> None:
    add_site("shop")
    add_site("blog")
    website.pages["/blog"] = http(status=500)
    outcome = run_job(registry[SYNC_SITES], call())
    assert outcome.ending is Ending.DONE
    assert outcome.answer
    assert list(outcome.answer) == ["success", "message", "result", "timestamp"]
    assert outcome.answer["message"] == "Site data sync completed"
    assert list(outcome.answer["result"]) == ["total", "success", "failed", "duration"]
    assert (outcome.answer["result"]["success"], outcome.answer["result"]["failed"]) == (1, 1)
    log, run = SyncLog.objects.get(), JobRun.objects.get()
    assert log.run == run
    assert run.counts == {"total": 2, "success": 1, "failed": 1}


@pytest.mark.parametrize("payload", [{"site": "shop"}, {"sites": ["none"]}, {"platform": "gone"}])
def test_a_payload_that_can_never_work_is_refused_and_nothing_is_synced(
    payload: dict[str, Any], add_site: AddSite, website: Website
) -> None:
    add_site("shop")
    outcome = run_job(registry[SYNC_SITES], call(**payload))
    assert outcome.ending is Ending.REFUSED
    assert outcome.error
    assert website.requests == []
    assert not SyncLog.objects.exists()


def test_a_request_carries_the_sites_and_who_asked(website: Website, settings: Settings) -> None:
    settings.QSTASH_URL = website.url().rstrip("/")
    target = f"/v2/publish/{settings.APP_URL}/api/cron/sync-sites"
    website.pages[target] = http(json.dumps({"messageId": "msg_1"}))
    assert request_sync(["Zoë's shop"], JobRun.Trigger.API, caller="me") == "msg_1"
    (request,) = website.requests
    assert json.loads(request.body) == {"sites": ["Zoë's shop"]}
    # A GET carries no body, so what goes beyond the schedule is posted.
    assert request.headers["upstash-method"] == "POST"
    assert request.headers["upstash-forward-soloboard-trigger"] == "api"


def test_a_request_fails_when_qstash_is_away() -> None:
    with pytest.raises(QStashAway):
        request_sync(["shop"], JobRun.Trigger.API, caller="me")


def test_the_time_of_a_chunk_suffices_for_the_most_patient_site(script: AddScript) -> None:
    left_s: list[float] = []

    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        left_s.append(client.left_s)
        return Snapshot(taken_at=request.now, health=Health.UP)

    script(it=fetch)
    site = MonitoredSite.objects.create(name="shop", platform="scripted", options={"fetch": "it"})
    log = SyncLog.objects.create()
    SyncChunk.objects.create(log=log, number=0, site_ids=[site.pk])
    assert run_job(registry[SYNC_CHUNK], call(log=log.pk, chunk=0)).ending is Ending.DONE
    assert left_s[0] > MAX_TIMEOUT_S
