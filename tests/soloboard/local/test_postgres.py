"""A real PostgreSQL with pgvector, wherever the project lies, that loses nothing."""

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from soloboard.local import CannotRunError
from soloboard.local.postgres import Postgres
from soloboard.local.process import Process
from soloboard.local.state import State
from tests.soloboard.local.conftest import Service

Serve = Callable[[Service], Process]


def query(postgres: Postgres, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(postgres.url()) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def test_it_brings_vectors_and_listens_on_no_port(state: State, serve: Serve) -> None:
    postgres = Postgres(state)
    serve(postgres)
    assert query(postgres, "SELECT '[3,4]'::vector <-> '[0,0]'") == [(5.0,)]
    assert query(postgres, "SHOW listen_addresses") == [("",)]
    assert query(postgres, "SHOW fsync") == [("on",)]
    assert query(postgres, "SHOW server_encoding") == [("UTF8",)]
    assert query(postgres, "SELECT lower('ÄÖÜ'), 'a' < 'B'") == [("äöü", False)]


def test_its_files_and_its_socket_are_private(state: State, serve: Serve) -> None:
    serve(Postgres(state, durable=False))
    assert stat.S_IMODE((state.root / "postgres").stat().st_mode) == 0o700
    sockets = [path for path in (state.root / "postgres").iterdir() if path.is_socket()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in sockets] == [0o700]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_what_was_committed_is_there_after(
    ending: signal.Signals, state: State, serve: Serve
) -> None:
    postgres = Postgres(state)
    first = serve(postgres)
    query(postgres, "CREATE TABLE kept AS SELECT 'committed' AS word")
    os.kill(first.popen.pid, ending)
    first.stop()
    # A clean start or not, and whatever process has that number by now.
    (state.root / "postgres" / "postmaster.pid").touch()
    serve(postgres)
    assert query(postgres, "SELECT word FROM kept") == [("committed",)]


@pytest.mark.parametrize("name", ["x" * 120, "with \"quotes' and ünïcode"])
def test_the_project_may_lie_in_any_path(name: str, place: Path, serve: Serve) -> None:
    (place / name).mkdir()
    state = State(place / name / "var")
    state.create()
    postgres = Postgres(state, durable=False)
    serve(postgres)
    assert query(postgres, "SELECT 1") == [(1,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can work in a directory closed to others")
def test_root_may_keep_the_project_in_a_closed_directory(state: State, serve: Serve) -> None:
    state.root.parent.chmod(0o700)
    postgres = Postgres(state, durable=False)
    serve(postgres)
    query(postgres, "CREATE TABLE written AS SELECT 1")
    assert state.root.parent.stat().st_mode & 0o777 == 0o700


def test_a_cluster_half_made_is_made_anew(state: State, serve: Serve) -> None:
    unfinished = state.root / "postgres.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    serve(Postgres(state, durable=False))
    assert not unfinished.exists()


def test_a_cluster_that_cannot_be_made_says_why(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soloboard.local.postgres.FIRST_STATEMENTS", "CREATE EXTENSION no_such;\n")
    with pytest.raises(CannotRunError, match=r'(?s)could not make .*"no_such" is not available'):
        Postgres(state, durable=False).start()
    assert not (state.root / "postgres").exists()


def test_data_of_another_version_is_refused_with_its_words(state: State, serve: Serve) -> None:
    postgres = Postgres(state, durable=False)
    serve(postgres).stop()
    (state.root / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(CannotRunError, match=r"(?s)postgres stopped .*incompatible with server"):
        serve(postgres)
