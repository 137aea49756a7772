"""A test run has servers of its own, shares them among its workers, and leaves none behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from soloboard.local.process import pause

REPOSITORY = Path(__file__).resolve().parents[1]

# Writes down where it ran. With GO_ON the tests of two workers wait for each other, so that
# each worker runs one; without, they wait to be killed.
TESTS = """
import os, time
from pathlib import Path
import psycopg, pytest, redis

@pytest.mark.parametrize("name", ["a", "b"])
def test_servers(name):
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("SELECT '[1]'::vector")
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        client.set("name", name)
        Path(name).write_text(os.environ["REDIS_URL"])
        while not ("GO_ON" in os.environ and Path("a").exists() and Path("b").exists()):
            time.sleep(0.02)
        assert client.get("name") == name.encode()
"""
UNSET = ("DATABASE_URL", "REDIS_URL", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def temp() -> Iterator[Path]:
    """The temp directory of the runs under test; other accounts may pass through, as in /tmp."""
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture
def run(tmp_path: Path, temp: Path) -> Iterator[Run]:
    """Start pytest, with the plugin, on the tests above."""
    (tmp_path / "test_servers.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p tests.services -p xdist.plugin\n")
    env = {name: value for name, value in os.environ.items() if name not in UNSET}
    env |= {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(temp)}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
        with (tmp_path / "output").open("a+") as output:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "pytest", *arguments],
                    cwd=tmp_path,
                    env=env | variables,
                    stdout=output,
                    stderr=output,
                    text=True,
                    # Started in a script's background, this run ignores Ctrl-C, and so would those.
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
                )
            )
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.wait(60)


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    while not path.exists():
        assert process.poll() is None, (path.parent / "output").read_text()
        pause()


def test_workers_share_the_servers_and_not_the_redis_database(
    run: Run, tmp_path: Path, temp: Path
) -> None:
    done = run("-n", "2", GO_ON="1")
    assert done.wait(60) == 0, (tmp_path / "output").read_text()
    urls = [(tmp_path / name).read_text() for name in "ab"]
    assert {url.rpartition("?")[2] for url in urls} == {"db=0", "db=1"}
    assert len({url.rpartition("?")[0] for url in urls}) == 1
    assert list(temp.glob("soloboard-*")) == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_leaves_nothing(
    ending: signal.Signals, run: Run, tmp_path: Path, temp: Path
) -> None:
    interrupted = run()
    wait_for(tmp_path / "a", interrupted)
    interrupted.send_signal(ending)
    assert interrupted.wait(60) == pytest.ExitCode.INTERRUPTED
    assert list(temp.glob("soloboard-*")) == []


def test_the_next_run_removes_what_a_killed_one_left(run: Run, tmp_path: Path, temp: Path) -> None:
    killed = run()
    wait_for(tmp_path / "a", killed)
    killed.kill()
    killed.wait()
    assert len(list(temp.glob("soloboard-tests-*"))) == 1
    assert run("-k", "no_such_test").wait(60) == pytest.ExitCode.NO_TESTS_COLLECTED
    assert list(temp.glob("soloboard-tests-*")) == []


def test_a_run_that_cannot_begin_leaves_nothing(run: Run, tmp_path: Path, temp: Path) -> None:
    (tmp_path / "conftest.py").write_text("raise RuntimeError('no tests today')")
    assert run().wait(60) == pytest.ExitCode.USAGE_ERROR
    assert list(temp.glob("soloboard-*")) == []
