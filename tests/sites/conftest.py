"""Sites on a server of the test's own, and runs of the sync over them."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from scheduling.models import JobRun
from scheduling.run import JobResult, Report, Run
from sites.jobs import SYNC_SITES
from sites.models import MonitoredSite
from sites.platforms import PLATFORMS
from sites.selection import Selection
from sites.sync import sync
from tests.sites.loopback import LOOPBACK
from tests.sites.scripted import Fetch, Scripted
from tests.sites.website import Website

AddSite = Callable[..., MonitoredSite]
RunSync = Callable[..., JobResult]
AddScript = Callable[..., None]
InThreads = Callable[..., None]


@pytest.fixture
def website(settings: Settings) -> Iterator[Website]:
    settings.ALLOWED_PRIVATE_NETWORKS = [LOOPBACK]
    with Website() as website:
        yield website


@pytest.fixture
def add_site(website: Website) -> AddSite:
    """Add an uptime site that watches the page of its own name."""

    def add(name: str, **fields: Any) -> MonitoredSite:
        options = {"url": website.url(f"/{name}"), **fields.pop("options", {})}
        return MonitoredSite.objects.create(name=name, platform="uptime", options=options, **fields)

    return add


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Add the platform `scripted` with these fetches."""

    def add(**fetches: Fetch) -> None:
        monkeypatch.setitem(PLATFORMS, Scripted.key, Scripted(**fetches))

    return add


@pytest.fixture
def run_sync() -> RunSync:
    """Run the sync within a time; its record is open meanwhile, as when a runner calls it."""

    def run(
        selection: Selection | None = None,
        *,
        time_s: float = 60.0,
        report: Report = lambda done, total: None,
    ) -> JobResult:
        now = timezone.now()
        record = JobRun.objects.create(
            job_key=SYNC_SITES,
            trigger=JobRun.Trigger.SCHEDULE,
            lease_expires_at=now + timedelta(seconds=time_s + 30),
        )
        deadline = time.monotonic() + time_s
        try:
            return sync(
                Run(id=record.pk, payload={}, deadline=deadline, report=report),
                selection or Selection(),
            )
        finally:
            record.close(status=JobRun.Status.SUCCEEDED)

    return run


@pytest.fixture
def in_threads() -> InThreads:
    """Run functions at the same instant, each on a connection of its own."""

    def run(*works: Callable[[], object]) -> None:
        together, errors = threading.Barrier(len(works)), []

        def one(work: Callable[[], object]) -> None:
            try:
                together.wait()
                work()
            except Exception as error:
                errors.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=one, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []

    return run
