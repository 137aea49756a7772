"""Deliveries at the same instant, processes that die in the middle, services that go and come back."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx2
import psycopg
import pytest
from django.utils import timezone
from pytest_django import Settings

from scheduling.models import JobRun
from scheduling.runner import LEASE_GRACE_S
from soloboard.local.postgres import Postgres
from soloboard.local.process import Process
from soloboard.local.state import State
from soloboard.local.valkey import Valkey
from tests.scheduling.calls import Calls
from tests.scheduling.conftest import refuse_secrets
from tests.scheduling.server import PROJECT, running_server
from tests.scheduling.work import WAIT_S, Gate, Work

SYNC_SITES = "/api/cron/sync-sites"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=20) as pool:
        yield pool


# --- At the same instant --------------------------------------------------------------------------


def deliver_together(
    pool: ThreadPoolExecutor, calls: Calls, message_ids: list[str]
) -> list[Future[httpx2.Response]]:
    """Send one delivery for each id, all at the same instant."""
    barrier = Barrier(len(message_ids), timeout=WAIT_S)

    def deliver(message_id: str) -> httpx2.Response:
        barrier.wait()
        return calls.deliver(message_id)

    return [pool.submit(deliver, message_id) for message_id in message_ids]


def test_one_of_two_deliveries_of_a_message_runs_and_the_other_is_to_come_back(
    calls: Calls, work: Work, pool: ThreadPoolExecutor
) -> None:
    work.does = gate = Gate()
    answers = deliver_together(pool, calls, ["msg_1", "msg_1"])
    second = next(as_completed(answers)).result()
    assert second.status_code == 503
    assert 300 < int(second.headers["Retry-After"]) <= 300 + LEASE_GRACE_S + 1
    gate.open()
    assert sorted(answer.result().status_code for answer in answers) == [200, 503]
    assert len(work.runs) == JobRun.objects.count() == 1
    assert calls.deliver("msg_1").json()["message"] == "Work done"
    assert len(work.runs) == 1


def test_deliveries_of_a_message_that_is_quickly_done_run_it_once_too(
    calls: Calls, work: Work, pool: ThreadPoolExecutor
) -> None:
    for number in range(10):
        answers = deliver_together(pool, calls, [f"msg_{number}"] * 4)
        assert {answer.result().status_code for answer in answers} <= {200, 503}
        assert len(work.runs) == JobRun.objects.count() == number + 1


def test_of_twenty_messages_at_once_one_runs_and_the_others_are_skipped_and_recorded(
    calls: Calls, work: Work, pool: ThreadPoolExecutor
) -> None:
    work.does = gate = Gate()
    answers = deliver_together(pool, calls, [f"msg_{number}" for number in range(20)])
    finished = as_completed(answers)
    skipped = [next(finished).result() for _ in range(19)]
    gate.open()
    assert all(answer.json()["skipped"] for answer in skipped)
    assert [answer.status_code for answer in skipped] == [200] * 19
    assert next(finished).result().json()["message"] == "Work done"
    assert len(work.runs) == 1
    assert JobRun.objects.filter(status="skipped").count() == 19
    assert JobRun.objects.filter(status="succeeded").count() == 1
    assert len(set(JobRun.objects.values_list("message_id", flat=True))) == 20


# --- Processes and services that go ---------------------------------------------------------------


class Signs:
    """The gate of work in another process: files that both sides see."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def payload(self, **more: str) -> dict[str, Any]:
        return {"signs": str(self._directory), **more}

    def wait_until_reached(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while not (self._directory / "reached").exists():
            assert time.monotonic() < deadline, "No run reached the gate."
            time.sleep(0.01)

    def open(self) -> None:
        (self._directory / "open").touch()


@pytest.fixture
def signs(tmp_path: Path) -> Signs:
    directory = tmp_path / "signs"
    directory.mkdir()
    return Signs(directory)


@contextmanager
def running_calls(directory: Path, settings: Settings, **environment: str) -> Iterator[Calls]:
    """A client of a server of its own. In the end its answers and its log may hold no secret."""
    with (
        running_server(directory, environment=environment) as server,
        Calls(server.address) as calls,
    ):
        yield calls
    refuse_secrets(settings, server.log.read_text(), *(answer.text for answer in calls.answers))


def test_a_run_whose_process_was_killed_is_closed_when_its_lease_ends(
    calls: Calls, work: Work, pool: ThreadPoolExecutor, signs: Signs, tmp_path: Path
) -> None:
    # Both servers use the database of this test; one dies, the other is redelivered to.
    with running_server(tmp_path) as server, Calls(server.address) as dying_calls:
        answer = pool.submit(dying_calls.deliver, "msg_1", body=signs.payload())
        signs.wait_until_reached()
        server.kill()
        with pytest.raises(httpx2.TransportError):
            answer.result()
    run = JobRun.objects.get()
    assert run.status == "running"

    before = calls.deliver("msg_1", headers={"Upstash-Retried": "1"})
    assert before.status_code == 503
    assert 270 < int(before.headers["Retry-After"]) <= 300 + LEASE_GRACE_S + 1
    assert calls.deliver("msg_2").json()["skipped"]
    assert work.runs == []

    # The lease lasts longer than a test may, so its end comes to it.
    JobRun.objects.filter(pk=run.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    after = calls.deliver("msg_1", headers={"Upstash-Retried": "2"})
    assert (after.status_code, after.json()["message"]) == (200, "Work done")
    assert len(work.runs) == 1
    run.refresh_from_db()
    assert (run.status, run.error) == (
        "abandoned",
        "The process died; the lease of the run has ended.",
    )
    again = JobRun.objects.get(status="succeeded")
    assert (again.message_id, again.trigger, again.attempt) == ("msg_1", "redelivery", 3)


class Service:
    """A server of this test alone, to stop and start."""

    def __init__(self, server: Postgres | Valkey, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack
        self.url = server.url()
        self.start()

    def start(self) -> None:
        self._process: Process = self._server.start()
        self._stopping = self._stack.enter_context(ExitStack())
        self._stopping.callback(self._process.stop)
        self._process.wait_until(self._server.is_ready)

    def stop(self) -> None:
        self._stopping.close()


@pytest.fixture
def own_state() -> Iterator[State]:
    """A short path through which another account may pass; pytest's own are neither."""
    with tempfile.TemporaryDirectory() as directory:
        state = State(Path(directory))
        state.create()
        yield state


@pytest.fixture
def postgres(own_state: State) -> Iterator[Service]:
    with ExitStack() as stack:
        service = Service(Postgres(own_state, durable=False), stack)
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--skip-checks", "--verbosity", "0"],
            cwd=PROJECT,
            env={**os.environ, "DATABASE_URL": service.url, "LOG_FILE": ""},
            check=True,
        )
        yield service


@pytest.fixture
def valkey(own_state: State) -> Iterator[Service]:
    with ExitStack() as stack:
        yield Service(Valkey(own_state), stack)


def test_a_database_that_stops_in_the_middle_costs_a_redelivery_and_no_work(
    postgres: Service, settings: Settings, pool: ThreadPoolExecutor, signs: Signs, tmp_path: Path
) -> None:
    body = signs.payload(use="database")
    with running_calls(tmp_path, settings, DATABASE_URL=postgres.url) as calls:
        answer = pool.submit(calls.deliver, "msg_1", body=body)
        signs.wait_until_reached()
        postgres.stop()
        signs.open()
        assert answer.result().status_code == 503
        # The run could not be closed, so nothing can succeed before its lease ends.
        assert 270 < int(answer.result().headers["Retry-After"]) <= 300 + LEASE_GRACE_S + 1
        for away in (calls.deliver("msg_2"), calls.with_secret(), calls.deliver("msg_1")):
            assert (away.status_code, away.headers["Retry-After"]) == (503, "60")
            assert away.json()["error"] == "The database or Redis is away."
        postgres.start()
        assert calls.deliver("msg_1", body=body).status_code == 503
        with psycopg.connect(postgres.url, autocommit=True) as database:
            database.execute("UPDATE job_runs SET lease_expires_at = now()")
        again = calls.deliver("msg_1", body=body)
        assert (again.status_code, again.json()["message"]) == (200, "Work done")
        with psycopg.connect(postgres.url) as database:
            runs = database.execute("SELECT message_id, status FROM job_runs ORDER BY id")
            assert runs.fetchall() == [("msg_1", "abandoned"), ("msg_1", "succeeded")]


@pytest.mark.django_db(transaction=True)
def test_a_cache_that_stops_fails_the_jobs_that_use_it_and_no_others(
    valkey: Service, settings: Settings, tmp_path: Path
) -> None:
    body = {"use": "cache"}
    with running_calls(tmp_path, settings, REDIS_URL=valkey.url) as calls:
        assert calls.deliver("msg_1", body=body).status_code == 200
        valkey.stop()
        away = calls.deliver("msg_2", body=body)
        assert (away.status_code, away.headers["Retry-After"]) == (503, "60")
        assert away.json()["error"] == "The database or Redis is away."
        assert calls.deliver("msg_3", "GET", SYNC_SITES).status_code == 200
        valkey.start()
        assert calls.deliver("msg_2", body=body).status_code == 200
    runs = JobRun.objects.order_by("pk").values_list("message_id", "status")
    assert list(runs) == [
        ("msg_1", "succeeded"),
        ("msg_2", "failed"),
        ("msg_3", "succeeded"),
        ("msg_2", "succeeded"),
    ]
