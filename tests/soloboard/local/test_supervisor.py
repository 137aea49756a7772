"""One owner starts all processes, ends them all, and continues where it, or a killed one, stopped.

Everything is real but the project: a `manage.py` that writes down what it was asked, and an
application that answers with its path.
"""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

from soloboard.local.environment import DEMO, GENERATED_SECRETS
from soloboard.local.process import pause
from soloboard.local.qstash import VARIABLES as QSTASH_VARIABLES
from tests.soloboard.local.conftest import REPOSITORY

MANAGE = """
import json, os, sys

with open("asked", "a") as asked:
    print(json.dumps(sys.argv[1:]), file=asked)
if sys.argv[1] == os.environ.get("FAILING_COMMAND"):
    sys.exit("the command " + sys.argv[1] + " does not like this")
"""
WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]
"""
OWNER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from soloboard.local.__main__ import main
sys.exit(main(Path(sys.argv[2])))
"""
PYTHONPATH = os.pathsep.join(
    [str(REPOSITORY), *(path for path in sys.path if path.endswith("site-packages"))]
)
# Where the database does not matter, none is made.
ELSEWHERE = {"DATABASE_URL": "postgresql://made.up.example/x"}
# What the tests' own environment says about services is not for the owner under test.
UNSET = ("DATABASE_URL", "REDIS_URL", "APP_URL", *GENERATED_SECRETS, *QSTASH_VARIABLES)


class Owner:
    """A running `python -m soloboard.local`, and what it has said so far."""

    def __init__(self, project: Path, env: Mapping[str, str], *command: str) -> None:
        self._output = project.parent / f"output-{uuid4()}"
        with self._output.open("wb") as output:
            self.popen = subprocess.Popen(
                [*(command or [sys.executable]), "-c", OWNER, str(REPOSITORY), str(project)],
                stdout=output,
                stderr=output,
                env=env,
                cwd="/",
            )

    @property
    def said(self) -> str:
        return self._output.read_text()

    def wait_until_up(self) -> "Owner":
        while "Ctrl-C stops everything" not in self.said:
            assert self.popen.poll() is None, self.said
            pause()
        return self

    def wait_until_gone(self) -> int:
        return self.popen.wait(60)

    def end(self, number: signal.Signals) -> int:
        self.popen.send_signal(number)
        return self.wait_until_gone()


@pytest.fixture
def project(place: Path) -> Path:
    project = place / "project"
    (project / "soloboard").mkdir(parents=True)
    (project / "manage.py").write_text(MANAGE)
    (project / "soloboard" / "__init__.py").touch()
    (project / "soloboard" / "wsgi.py").write_text(WSGI)
    return project


@pytest.fixture
def own(project: Path) -> Iterator[Callable[..., Owner]]:
    """Start owners of the project; whatever they are up to, all has ended after the test."""
    variables = {name: value for name, value in os.environ.items() if name not in UNSET}
    variables |= {"PYTHONPATH": PYTHONPATH, "TMPDIR": str(project.parent)}
    variables |= {"PORT": free_port(), "QSTASH_DEV_PORT": free_port()}
    owners: list[Owner] = []

    def start(*command: str, **more: str) -> Owner:
        owners.append(Owner(project, {**variables, **more}, *command))
        return owners[-1]

    yield start
    for owner in owners:
        if owner.popen.poll() is None:
            owner.end(signal.SIGTERM)
    for process in processes_of(project):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def processes_of(project: Path) -> list[psutil.Process]:
    """All living processes that work in the project or are told of it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(str(project) in word for word in (process.cwd(), *process.cmdline())):
                found.append(process)
    return found


def local_variables(project: Path) -> dict[str, str]:
    lines = (project / "var" / "local.env").read_text().splitlines()[1:]
    return dict(line.split("=", 1) for line in lines)


def query(project: Path, sql: bytes) -> list[tuple[object, ...]]:
    with psycopg.connect(local_variables(project)["DATABASE_URL"]) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def password(owner: Owner) -> str:
    found = re.search(r"password +(\S{16,})\n", owner.said)
    assert found
    return found[1]


def test_it_starts_everything_in_order_and_ctrl_c_ends_everything(
    own: Callable[..., Owner], project: Path
) -> None:
    owner = own().wait_until_up()
    url = local_variables(project)["APP_URL"]
    assert f"SoloBoard runs at {url}\n" in owner.said
    assert set(local_variables(project)) >= {*UNSET}
    asked = [json.loads(line) for line in (project / "asked").read_text().splitlines()]
    assert asked == [
        ["migrate", "--no-input"],
        ["init_local"],
        ["init_qstash"],
        ["run_job", "sync-sites", "--through-qstash"],
        ["run_job", "process-user-actions"],
        ["run_job", "process-user-embeddings", "--through-qstash"],
    ]
    assert len(processes_of(project)) > 5
    assert owner.end(signal.SIGINT) == 0
    assert owner.said.endswith("Stopped. `make run` continues where it was.\n")
    assert processes_of(project) == []
    assert {path.name for path in (project / "var" / "run").iterdir()} == {"owner", "qstash.env"}


def test_a_second_owner_is_refused_and_a_killed_one_is_continued(
    own: Callable[..., Owner], project: Path
) -> None:
    first = own().wait_until_up()
    query(project, b"CREATE TABLE kept AS SELECT 'committed' AS word")
    secrets = local_variables(project)["SOLOBOARD_SECRET_KEYS"]

    second = own()
    assert second.wait_until_gone() == 1
    assert f"already running here, at {local_variables(project)['APP_URL']}" in second.said
    assert f"`kill {first.popen.pid}`" in second.said

    first.end(signal.SIGKILL)
    left = processes_of(project)
    assert left

    third = own().wait_until_up()
    assert "Stopped what an earlier run had left behind" in third.said
    assert query(project, b"SELECT word FROM kept") == [("committed",)]
    assert local_variables(project)["SOLOBOARD_SECRET_KEYS"] == secrets
    assert password(third) == password(first)
    assert not any(process.is_running() and is_alive(process) for process in left)
    assert third.end(signal.SIGTERM) == 0
    assert processes_of(project) == []


def is_alive(process: psutil.Process) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE


def test_a_child_that_dies_ends_everything_with_a_sentence(
    own: Callable[..., Owner], project: Path
) -> None:
    owner = own(**ELSEWHERE).wait_until_up()
    pid = int((project / "var" / "run" / "valkey.process").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert owner.wait_until_gone() == 1
    assert "valkey stopped unexpectedly (SIGKILL).\nThe end of " in owner.said
    assert "Ready to accept connections" in owner.said
    assert processes_of(project) == []


def test_a_command_that_fails_ends_everything_with_its_words(
    own: Callable[..., Owner], project: Path
) -> None:
    owner = own(FAILING_COMMAND="migrate", **ELSEWHERE)
    assert owner.wait_until_gone() == 1
    assert "`manage.py migrate --no-input` failed.\n" in owner.said
    assert "the command migrate does not like this" in owner.said
    assert "Traceback" not in owner.said
    assert processes_of(project) == []


def test_it_serves_although_the_schedules_could_not_be_pushed(own: Callable[..., Owner]) -> None:
    owner = own(FAILING_COMMAND="init_qstash", **ELSEWHERE).wait_until_up()
    assert "the command init_qstash does not like this" in owner.said
    assert "goes on without" in owner.said
    assert owner.end(signal.SIGTERM) == 0


def test_a_closed_terminal_ends_everything_even_while_it_starts(
    own: Callable[..., Owner], project: Path
) -> None:
    (project / "manage.py").write_text("import time; open('asked', 'w'); time.sleep(600)")
    owner = own(**ELSEWHERE)
    while not (project / "asked").exists():
        assert owner.popen.poll() is None, owner.said
        pause()
    assert owner.end(signal.SIGHUP) == 0
    assert processes_of(project) == []


@pytest.mark.parametrize("variable", ["PORT", "QSTASH_DEV_PORT"])
def test_a_taken_port_is_one_sentence_and_starts_nothing(
    variable: str, own: Callable[..., Owner], project: Path
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        owner = own(**{variable: str(port)})
        assert owner.wait_until_gone() == 1
    assert re.fullmatch(rf"Port {port} cannot .*`{variable}={port + 1} make run`\.\n", owner.said)
    assert not (project / "var" / "postgres").exists()


def test_services_that_are_configured_are_not_started(
    own: Callable[..., Owner], project: Path
) -> None:
    (project / ".env").write_text(
        "QSTASH_TOKEN=made-up\nREDIS_URL=redis://made.up.example\nAPP_URL=https://a.example/\n"
    )
    owner = own(**ELSEWHERE).wait_until_up()
    assert "SoloBoard runs at https://a.example\n" in owner.said
    assert set(local_variables(project)) == {*GENERATED_SECRETS, *DEMO}
    assert not {"postgres", "valkey"} & {path.name for path in (project / "var").iterdir()}


def test_half_of_the_settings_of_qstash_are_refused(own: Callable[..., Owner]) -> None:
    owner = own(QSTASH_URL="https://qstash.example")
    assert owner.wait_until_gone() == 1
    assert "QSTASH_URL is set, but QSTASH_TOKEN is not" in owner.said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_an_ordinary_account_needs_no_root(own: Callable[..., Owner], project: Path) -> None:
    command = ordinary_command()
    nobody = pwd.getpwnam("nobody")
    for path in (project.parent, project, *project.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    owner = own(*command).wait_until_up()
    assert query(project, b"SELECT 1") == [(1,)]
    assert {process.uids().real for process in processes_of(project)} == {nobody.pw_uid}
    assert (project / "var").stat().st_mode & 0o777 == 0o700
    # As a person would: setpriv has become the owner itself.
    assert owner.end(signal.SIGINT) == 0
    assert processes_of(project) == []


def ordinary_command() -> list[str]:
    """Python as an account without privileges; the interpreter of root may lie in its home."""
    step_down = ["setpriv", "--reuid=nobody", "--regid=65534", "--clear-groups"]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # setpriv gives up its rights in the moment it becomes Python, so only what Python starts
    # shows whether the account can reach it.
    attempt = (
        "import subprocess, sys; "
        "subprocess.run([sys.executable, '-c', 'import soloboard.local.supervisor'], check=True)"
    )
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    for python in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin")):
        command = [*step_down, str(python)]
        tried = subprocess.run(
            [*command, "-c", attempt], env=environment, cwd="/", capture_output=True, check=False
        )
        if tried.returncode == 0:
            return command
    pytest.skip(f"an ordinary account can reach no {version} or not this checkout")
