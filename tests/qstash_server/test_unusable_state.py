"""A full disk and a locked file: a clear error, and all is well once the cause is gone."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from qstash_server.clock import ManualClock
from tests.qstash_server.running import LoopThread, Raw, Running, Sink, settings
from tests.qstash_server.test_main import run

DISK_BYTES = 4_000_000
BODY = "x" * 100_000
LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if sys.platform != "linux" or os.geteuid() != 0 or mount is None or unmount is None:
        pytest.skip("only root can mount a small file system, and only on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [mount, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield disk
    subprocess.run([unmount, str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take what room there is; deleting the file frees it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Have another process hold the write lock on the file."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        # Leaving closes its input, which ends it.


def publish(server: Running, url: str, body: str = "x") -> Raw:
    return server.request("POST", f"/v2/publish/{url}", body)


def integrity(state: Path) -> str:
    connection = sqlite3.connect(state)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


def test_full_disk_is_503_until_there_is_room_and_loses_nothing(
    loop: LoopThread, small_disk: Path, clock: ManualClock, sink: Sink
) -> None:
    state = small_disk / "state.sqlite3"
    with Running(loop, settings(state), clock) as server:
        url = sink.url + "/x"
        accepted = {server.publish(url, body=BODY, delay=60) for _ in range(3)}
        filler = fill(small_disk)
        answers = [publish(server, url, BODY) for _ in range(3)]
        assert [answer.status for answer in answers] == [503] * 3
        assert "full" in answers[0].json["error"]
        # Reading goes on, and what is due goes out although it cannot be recorded.
        assert server.request("GET", "/v2/dlq").status == 200
        server.advance(60)
        assert {d.headers["Upstash-Message-Id"] for d in sink.wait_for("/x", 3)} == accepted
        filler.unlink()
        last = publish(server, url, BODY)
        assert last.status == 200
        server.advance(60)
        for message_id in accepted | {last.json["messageId"]}:
            assert server.states(message_id)[-1] == "DELIVERED"
    assert integrity(state) == "ok"


def test_start_on_a_full_disk_is_one_sentence(small_disk: Path) -> None:
    state = small_disk / "state.sqlite3"
    fill(small_disk)
    finished = run(state)
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert f"The state {state} cannot be used" in finished.stderr


def test_locked_file_is_503_within_a_bounded_time_for_everybody(
    server: Running, state: Path, sink: Sink
) -> None:
    url = sink.url + "/x"
    with locked(state):
        started = time.monotonic()
        with ThreadPoolExecutor(20) as callers:
            answers = list(callers.map(lambda _: publish(server, url), range(20)))
        assert time.monotonic() - started < 10
        assert {answer.status for answer in answers} == {503}
        assert "locked" in answers[0].json["error"]
        assert server.request("GET", "/v2/schedules").status == 200
    assert publish(server, url).status == 200
    sink.wait_for("/x")


def test_start_on_a_locked_file_is_one_sentence(
    loop: LoopThread, state: Path, clock: ManualClock
) -> None:
    with Running(loop, settings(state), clock):
        pass
    with locked(state):
        finished = run(state)
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert f"The state {state} cannot be used" in finished.stderr
    assert "locked" in finished.stderr
