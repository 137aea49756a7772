"""Settings that are made once, kept privately, and give way to what the owner set."""

from pathlib import Path

import environ
import pytest

from soloboard.local import CannotRunError, environment
from soloboard.local.state import State


def read(state: State) -> dict[str, str]:
    lines = (state.root / "local.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_secrets_are_made_once_and_addresses_follow_the_services(state: State) -> None:
    environment.write_local_variables(state, {"REDIS_URL": "unix:///a?db=0", "QSTASH_TOKEN": "x"})
    first = read(state)
    environment.write_local_variables(state, {"REDIS_URL": "unix:///b?db=0"})
    second = read(state)
    for name in environment.GENERATED_SECRETS:
        assert len(first[name]) >= 50
        assert second[name] == first[name]
    assert second["REDIS_URL"] == "unix:///b?db=0"
    assert "QSTASH_TOKEN" not in second
    assert len({first[name] for name in environment.GENERATED_SECRETS}) == 3


def test_secrets_survive_the_reader_that_settings_use(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://soloboard@/soloboard?host=/srv/a%20b&port=5432"
    environment.write_local_variables(state, {"DATABASE_URL": url})
    values: dict[str, str] = {}
    monkeypatch.setattr(environ.Env, "ENVIRON", values)
    environ.Env.read_env(state.root / "local.env")
    assert values == read(state)


def test_the_files_are_private_and_nothing_else_is_left(state: State) -> None:
    environment.write_local_variables(state, {})
    environment.admin_password_file(state)
    files = {path for path in state.root.iterdir() if path.is_file()}
    assert {path.name for path in files} == {"local.env", "admin-password"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_the_password_is_made_once(state: State) -> None:
    first = environment.admin_password_file(state).read_text()
    assert len(first.strip()) >= 16
    assert environment.admin_password_file(state).read_text() == first


def test_the_process_wins_over_the_file_and_blank_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QSTASH_TOKEN")
    monkeypatch.setenv("REDIS_URL", "redis://process")
    monkeypatch.setenv("DATABASE_URL", " ")
    (tmp_path / ".env").write_text(
        "REDIS_URL=redis://file\nQSTASH_TOKEN=\nDATABASE_URL='postgresql://of the file'\n"
    )
    given = environment.given_variables(tmp_path)
    assert given["REDIS_URL"] == "redis://process"
    assert given["DATABASE_URL"] == "postgresql://of the file"
    assert "QSTASH_TOKEN" not in given


def test_the_older_name_of_the_address_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APP_URL")
    (tmp_path / ".env").write_text("NEXT_PUBLIC_APP_URL=https://board.example.com\n")
    assert environment.given_variables(tmp_path)["APP_URL"] == "https://board.example.com"


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "8000x", "٨٠"])
def test_a_port_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(CannotRunError, match=r"PORT is .*write a port number"):
        environment.port({"PORT": text}, "PORT", 8000)


def test_a_port_is_read_or_the_usual_one() -> None:
    assert environment.port({"PORT": "8001"}, "PORT", 8000) == 8001
    assert environment.port({}, "PORT", 8000) == 8000
