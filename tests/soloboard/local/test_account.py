"""Under root, PostgreSQL runs as an account without privileges, wherever the project lies."""

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from soloboard.local import CannotRunError
from soloboard.local.account import unprivileged_account
from soloboard.local.state import State
from tests.soloboard.local.conftest import REPOSITORY

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root does")
CLOSED_TO_OTHERS = 0o700


@pytest.fixture
def program(place: Path) -> Path:
    """A program that says who runs it."""
    directory = place / "programs"
    directory.mkdir(mode=0o755)
    program = directory / "program"
    program.write_text("#!/bin/sh\nid -u\n")
    program.chmod(0o755)
    return program


def test_an_ordinary_account_runs_it_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    account = unprivileged_account(tmp_path, tmp_path)
    assert (account.uid, account.prefix) == (1000, ())


@needs_root
def test_root_steps_down_without_any_capability_where_it_can(state: State, program: Path) -> None:
    account = unprivileged_account(state.root, program)
    status = run([*account.prefix, "cat", "/proc/self/status"])
    assert f"Uid:\t{account.uid}\t{account.uid}" in status
    assert account.uid != 0
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert f"{kind}:\t0000000000000000" in status


@needs_root
def test_the_owner_of_the_data_is_kept(state: State, program: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(state.run, nobody.pw_uid, nobody.pw_gid)
    assert unprivileged_account(state.run, program).uid == nobody.pw_uid


@needs_root
def test_in_a_closed_directory_it_may_read_and_not_write(state: State, program: Path) -> None:
    state.root.parent.chmod(CLOSED_TO_OTHERS)
    account = unprivileged_account(state.root, program)
    assert run([*account.prefix, str(program)]).strip() == str(account.uid)
    touched = state.root.parent / "touched"
    command = [*account.prefix, "touch", str(touched)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert state.root.parent.stat().st_mode & 0o777 == CLOSED_TO_OTHERS


@needs_root
@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("-dac_read_search", "--ambient-caps=+dac_override"),
        ("-dac_read_search,-dac_override", "CannotRunError: PostgreSQL refuses to run as root"),
    ],
)
def test_a_container_that_withholds_capabilities(
    missing: str, expected: str, state: State, program: Path
) -> None:
    state.root.parent.chmod(CLOSED_TO_OTHERS)
    code = f"""
from pathlib import Path
from soloboard.local.account import unprivileged_account
print(unprivileged_account(Path({str(state.root)!r}), Path({str(program)!r})).prefix)
"""
    command = ["setpriv", f"--bounding-set={missing}", f"--inh-caps={missing}"]
    done = subprocess.run(
        [*command, sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert expected in done.stdout + done.stderr


@needs_root
def test_without_setpriv_a_sentence_says_so(
    state: State, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(state.root))
    with pytest.raises(CannotRunError, match=r"setpriv .* is missing: start SoloBoard from an"):
        unprivileged_account(state.root, program)


def run(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
