"""A large sync over two servers of the product and the QStash server, of which one server dies."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from pytest_django import Settings

from scheduling.models import JobRun
from sites.chunks import SYNC_CHUNK
from sites.models import MonitoredSite, SiteSnapshot, SyncChunk, SyncLog
from tests.qstash import running_qstash
from tests.scheduling.server import Server, running_server
from tests.sites.loopback import Request, http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db(transaction=True)

CHUNK_SIZE = 20
SITES = 300
PATIENCE_S = 120


class Gate:
    """A page for all sites; from the middle on nobody gets it before the test opens it."""

    def __init__(self) -> None:
        self.asked_for: list[str] = []
        self.open = threading.Event()

    async def page(self, request: Request) -> AsyncIterator[bytes]:
        self.asked_for.append(request.target)
        if len(self.asked_for) > SITES // 2:
            await asyncio.get_running_loop().run_in_executor(None, self.open.wait)
        yield http("fine")


def wait_until(is_so: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"Never came: {what}"
        time.sleep(0.05)


@pytest.fixture
def gate(website: Website) -> Gate:
    gate = Gate()
    for number in range(SITES):
        website.pages[f"/{number}"] = gate.page
    MonitoredSite.objects.bulk_create(
        MonitoredSite(
            name=f"site {number}", platform="uptime", options={"url": website.url(f"/{number}")}
        )
        for number in range(SITES)
    )
    return gate


def start_servers(stack: ExitStack, directory: Path) -> dict[str, Server]:
    """Two servers behind one address, as two instances behind a load balancer."""
    door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    address = f"http://127.0.0.1:{door.getsockname()[1]}"
    qstash = stack.enter_context(running_qstash(directory / "qstash.sqlite"))
    signs = directory / "signs"
    signs.mkdir()
    servers = {}
    for name in ("a", "b"):
        (directory / name).mkdir()
        servers[name] = stack.enter_context(
            running_server(
                directory / name,
                application="tests.sites.application",
                door=door,
                environment={
                    "APP_URL": address,
                    "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
                    "SERVER_NAME": name,
                    "SIGNS": str(signs),
                    "CHUNK_SIZE": str(CHUNK_SIZE),
                    **qstash,
                },
            )
        )
    door.close()  # Only the servers have it now.
    return servers


def test_every_site_is_attempted_once_though_a_server_is_killed_half_way(
    gate: Gate, tmp_path: Path, settings: Settings
) -> None:
    with ExitStack() as stack:
        servers = start_servers(stack, tmp_path)
        address = next(iter(servers.values())).address
        answer = httpx2.get(
            f"{address}/api/cron/sync-sites",
            headers={"Authorization": f"Bearer {settings.CRON_SECRET}"},
            trust_env=False,
            timeout=60,
        )
        assert json.loads(answer.content)["result"]["handed_on"] == SITES
        signs = tmp_path / "signs"
        wait_until(lambda: len(gate.asked_for) > SITES // 2 and any(signs.iterdir()), "the middle")
        victim = next(iter(signs.iterdir())).name.partition("-")[0]
        servers[victim].kill()
        gate.open.set()
        log = SyncLog.objects.get()

        def is_closed() -> bool:
            log.refresh_from_db()
            return log.status != SyncLog.Status.RUNNING

        wait_until(is_closed, "the end of the sync")
    assert (log.status, log.errors) == (SyncLog.Status.SUCCESS, {})
    counts = (log.sites_total, log.sites_synced, log.sites_failed, log.sites_carried_over)
    assert counts == (SITES, SITES, 0, 0)
    assert SiteSnapshot.objects.count() == SITES
    assert SiteSnapshot.objects.values("site").distinct().count() == SITES
    assert not SyncChunk.objects.exists()
    runs = JobRun.objects.filter(job_key=SYNC_CHUNK)
    died = runs.filter(status=JobRun.Status.ABANDONED).count()
    assert died >= 1
    # What the dead server was fetching is all that was asked for twice.
    assert len(gate.asked_for) - SITES <= died * CHUNK_SIZE
