"""A sync of very many sites over two app processes and the QStash server; part of bench/sync.py."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from bench.figures import console, print_table
from tests.qstash import running_qstash
from tests.scheduling.server import Server, running_server

POLL_S = 0.1
PATIENCE_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one sync came to.

    took_s: from the call until its log was closed.
    after_kill_s: from the death of a process until nine tenths of the sites were synced, and until
        the log was closed; None when none died.
    """

    took_s: float
    synced: int
    doubled: int
    after_kill_s: tuple[float, float] | None = None

    def row(self, name: str, single: "Outcome") -> list[str]:
        return [
            name,
            f"{self.took_s:.1f}",
            f"{self.synced / self.took_s:.0f}",
            f"{single.took_s / self.took_s:.2f} x",
            *(
                [f"{seconds:.1f}" for seconds in self.after_kill_s]
                if self.after_kill_s
                else ["", ""]
            ),
            f"{self.synced}",
            f"{self.doubled}",
        ]


def measure_fan_out(sites: int) -> None:
    """Sync all sites of the board in this process, then twice over two, of which one dies once."""
    single = outcome_of(in_this_process)
    console.print(f"one process: {single.took_s:.1f} s")
    with two_servers() as servers:
        address = servers[0].address
        both = outcome_of(lambda: call(address))
        console.print(f"two processes: {both.took_s:.1f} s")
        killed = outcome_of(lambda: call(address), kill=(sites // 2, servers[0]))
    print_table(
        f"{sites} sites in chunks",
        ["", "seconds", "sites/s", "speed", "kill to 90 %", "to all", "synced", "synced twice"],
        [
            single.row("one process, one call", single),
            both.row("two processes", single),
            killed.row("two, one killed half-way", single),
        ],
    )


def outcome_of(begin: Callable[[], object], kill: tuple[int, Server] | None = None) -> Outcome:
    """Begin a sync and wait for its end. kill: a server, when so many sites are synced."""
    from sites.models import SyncLog

    started = time.perf_counter()
    killed_at = most_at = None
    begin()
    while (log := SyncLog.objects.latest("pk")).status == SyncLog.Status.RUNNING:
        if kill and killed_at is None and log.sites_synced >= kill[0]:
            kill[1].kill()
            killed_at = time.perf_counter()
        if most_at is None and log.sites_synced >= 0.9 * log.sites_total:
            most_at = time.perf_counter()
        if time.perf_counter() - started > PATIENCE_S:
            raise RuntimeError(f"The sync did not end: {log.sites_synced} of {log.sites_total}.")
        time.sleep(POLL_S)
    ended = time.perf_counter()
    if log.sites_synced != log.sites_total:
        raise RuntimeError(f"Not all sites were synced: {log.sites_synced} of {log.sites_total}.")
    return Outcome(
        took_s=ended - started,
        synced=log.sites_synced,
        doubled=log.results.count() - log.results.values("site").distinct().count(),
        after_kill_s=(
            ((most_at or ended) - killed_at, ended - killed_at) if killed_at is not None else None
        ),
    )


def in_this_process() -> None:
    from scheduling.models import JobRun
    from scheduling.registry import registry
    from scheduling.runner import Call, run_job
    from sites.jobs import SYNC_SITES

    run_job(registry[SYNC_SITES], Call(trigger=JobRun.Trigger.COMMAND, in_process=True))


def call(address: str) -> None:
    """As the schedule does."""
    bearer = {"Authorization": f"Bearer {os.environ['CRON_SECRET']}"}
    url = f"{address}/api/cron/sync-sites"
    answer: dict[str, Any] = httpx2.get(url, headers=bearer, trust_env=False, timeout=300).json()
    if not answer.get("result", {}).get("handed_on"):
        raise RuntimeError(f"Nothing was handed on: {answer}")


@contextmanager
def two_servers() -> Iterator[list[Server]]:
    """Two servers of the product behind one address, and the QStash server that calls it."""
    with tempfile.TemporaryDirectory(prefix="soloboard-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = f"http://127.0.0.1:{door.getsockname()[1]}"
        qstash = stack.enter_context(running_qstash(directory / "qstash.sqlite"))
        servers = []
        for number in range(2):
            own = directory / str(number)
            own.mkdir()
            server = running_server(
                own,
                application="soloboard.wsgi",
                door=door,
                environment={"APP_URL": address, **qstash},
            )
            servers.append(stack.enter_context(server))
        door.close()
        yield servers
