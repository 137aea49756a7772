"""Sockets lie in private directories on short paths; a port that is taken is named."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from soloboard.local import CannotRunError
from soloboard.local.account import this_account
from soloboard.local.sockets import require_free_port, socket_directory


@pytest.fixture(autouse=True)
def temp_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    directory = tmp_path / "temp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def directory_for(data: Path) -> Path:
    return socket_directory(data, "s.sock", this_account())


def test_a_short_path_holds_its_own_socket() -> None:
    assert directory_for(Path("/srv/board")) == Path("/srv/board")


@pytest.mark.parametrize("name", ["x" * 100, "ä" * 50, "one,two"])
def test_an_unsuitable_path_gets_a_private_directory(name: str, temp_directory: Path) -> None:
    data = Path("/srv") / name
    directory = directory_for(data)
    assert directory.parent == temp_directory
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory_for(data) == directory
    assert directory_for(data / "other") != directory


def test_a_directory_that_others_can_enter_is_refused() -> None:
    data = Path("/srv") / ("x" * 100)
    directory_for(data).chmod(0o755)
    with pytest.raises(CannotRunError, match="not a private directory"):
        directory_for(data)


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    data = Path("/srv") / ("x" * 100)
    directory = directory_for(data)
    directory.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotRunError, match="not a private directory"):
        directory_for(data)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_account_is_refused() -> None:
    data = Path("/srv") / ("x" * 100)
    os.chown(directory_for(data), 12345, 12345)
    with pytest.raises(CannotRunError, match="not a private directory"):
        directory_for(data)


def test_a_taken_port_is_named_with_the_variable_that_changes_it() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(CannotRunError, match=rf"Port {port} .*PORT={port + 1} make run"):
            require_free_port(port, "PORT")
    require_free_port(port, "PORT")
