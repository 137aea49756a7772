"""var/ is private."""

import os
from pathlib import Path

import pytest

from soloboard.local import CannotRunError
from soloboard.local.state import State


def test_it_is_private_and_can_be_made_again(tmp_path: Path) -> None:
    state = State(tmp_path / "var")
    state.create()
    state.create()
    # Under root, PostgreSQL's account passes through it, and can do no more.
    assert state.root.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)
    assert {path.stat().st_mode & 0o777 for path in (state.run, state.log)} == {0o700}


def test_a_directory_that_was_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir(mode=0o777)
    state = State(tmp_path / "var")
    state.create()
    assert not state.root.stat().st_mode & 0o066


def test_another_accounts_directory_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(CannotRunError, match="start SoloBoard from the account"):
        State(tmp_path).create()
    assert list(tmp_path.iterdir()) == []
