import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from soloboard import env
from soloboard.env import MailServer
from tests.services import SETTINGS

PROJECT = Path(__file__).resolve().parent.parent.parent
COMPLETE = {
    **SETTINGS,
    "DATABASE_URL": "postgresql://nobody@localhost/none",
    "REDIS_URL": "redis://localhost:6379/0",
    "APP_URL": "https://board.example.com",
    "QSTASH_URL": "https://qstash.upstash.io",
    "DEBUG": "false",
    "LOG_FILE": "-",
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {*COMPLETE, *env.ALIASES}:
        monkeypatch.delenv(name, raising=False)


def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    found: dict[str, str] = env.read_environment(tmp_path).ENVIRON
    return found


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", env.REQUIRED)
@pytest.mark.parametrize("value", [None, "", " "])
def test_one_missing_or_blank_setting_is_named_alone_with_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    values = {**COMPLETE, name: value}
    with pytest.raises(ImproperlyConfigured) as caught:
        read(tmp_path, monkeypatch, {key: text for key, text in values.items() if text is not None})
    lines = str(caught.value).splitlines()
    assert [line for line in lines if line.startswith("  ")] == [f"  {name}: {env.REQUIRED[name]}"]


def test_the_process_wins_over_the_file_and_the_file_over_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "var").mkdir()
    rest = {name: value for name, value in COMPLETE.items() if name != "DEBUG"}
    (tmp_path / "var" / "local.env").write_text("A=local\nB=local\nC=local\n")
    (tmp_path / ".env").write_text("A=file\nB=file\nC=\n")
    found = read(tmp_path, monkeypatch, {**rest, "A": "process", "B": ""})
    assert (found["A"], found["B"], found["C"]) == ("process", "file", "local")


def test_what_this_machine_generated_does_not_stand_in_for_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "local.env").write_text("CRON_SECRET=made-up-cron-secret\n")
    values = {name: value for name, value in COMPLETE.items() if name != "CRON_SECRET"}
    with pytest.raises(ImproperlyConfigured, match="CRON_SECRET"):
        read(tmp_path, monkeypatch, values)


def test_files_leave_the_environment_of_the_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("ONLY_IN_THE_FILE=1\n")
    assert read(tmp_path, monkeypatch, COMPLETE)["ONLY_IN_THE_FILE"] == "1"
    assert "ONLY_IN_THE_FILE" not in os.environ


def test_the_older_name_of_the_address_is_read_and_the_newer_one_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {"NEXT_PUBLIC_APP_URL": "https://old.example.com"}
    assert read(tmp_path, monkeypatch, {**COMPLETE, **old})["APP_URL"] == COMPLETE["APP_URL"]
    monkeypatch.delenv("APP_URL")
    assert env.read_environment(tmp_path).ENVIRON["APP_URL"] == "https://old.example.com"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DEBUG", "maybe", "write true or false"),
        ("ALLOWED_PRIVATE_NETWORKS", "home", "192.168.1.0/24"),
        ("ALLOWED_PORTS", "http", "8443,8080"),
        ("NETWORK_PROBES", "example.com", "starts with http"),
        ("ACTION_KINDS", "listen", "listen:1.5,skip:-0.5"),
        ("ACTION_KINDS", "Listen:1", "no kind of action"),
        ("ACTION_KINDS", "listen:nan", "not a number"),
        ("DATABASE_URL", "sqlite:///db.sqlite3", "PostgreSQL"),
        ("DATABASE_URL", "nonsense", "PostgreSQL"),
        ("RECOMMEND_TOPIC_SHARE", "half", "a fraction from 0 to 1"),
        ("RECOMMEND_EXPLORATION_SHARE", "1.5", "a fraction from 0 to 1"),
        ("EMAIL_URL", "mail.example.com", "smtp+tls://USER:PASSWORD@HOST:587"),
        ("EMAIL_URL", "smtp://mail.example.com:many", "smtp+tls://USER:PASSWORD@HOST:587"),
        ("LOG_FILE", "/dev/null/app.log", "log to the terminal alone"),
    ],
)
def test_a_value_of_the_wrong_form_stops_the_start_in_one_sentence(
    name: str, value: str, says: str
) -> None:
    done = manage("check", **{**COMPLETE, name: value})
    assert done.returncode != 0
    assert says in done.stderr
    assert name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("address", "server"),
    [
        ("", MailServer()),
        ("smtp://localhost:1025", MailServer(host="localhost", port=1025)),
        (
            "smtp+tls://me%40example.com:p%2Fw@mail.example.com",
            MailServer(host="mail.example.com", port=587, user="me@example.com", password="p/w",
                       starttls=True),
        ),
        ("smtps://mail.example.com", MailServer(host="mail.example.com", port=465, tls=True)),
    ],
)  # fmt: skip
def test_a_mail_server_is_read_from_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, server: MailServer
) -> None:
    for name, value in {**COMPLETE, "EMAIL_URL": address}.items():
        monkeypatch.setenv(name, value)
    assert env.mail_server(env.read_environment(tmp_path), "EMAIL_URL") == server


def test_a_password_in_an_address_that_cannot_be_read_is_not_repeated() -> None:
    done = manage("check", **{**COMPLETE, "EMAIL_URL": "imap://me:made-up-password@mail.example"})
    assert done.returncode != 0
    assert "made-up-password" not in done.stderr
    assert "made-up-password" not in repr(MailServer(password="made-up-password"))


def test_a_kind_of_action_comes_with_its_weight() -> None:
    assert env.weighted_kind("skip_ad-2:-0.5") == ("skip_ad-2", -0.5)


@pytest.mark.parametrize(
    ("value", "probes"),
    [
        ("", env.NETWORK_PROBES),
        ("-", []),
        (
            "http://probe.example/, https://b.example",
            ["http://probe.example/", "https://b.example"],
        ),
    ],
)
def test_hosts_that_are_always_there_have_a_default_and_may_be_none(
    value: str, probes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {**COMPLETE, "NETWORK_PROBES": value}.items():
        monkeypatch.setenv(name, text)
    assert env.network_probes(env.read_environment(tmp_path)) == probes


def test_production_settings_pass_the_deployment_check_without_a_word() -> None:
    done = manage("check", "--deploy", "--fail-level", "WARNING", **COMPLETE)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_production_without_settings_names_all_of_them_and_shows_no_traceback() -> None:
    done = manage("check", DEBUG="false")
    assert done.returncode != 0
    assert all(f"  {name}:" in done.stderr for name in env.REQUIRED)
    assert "Traceback" not in done.stderr


def test_every_setting_stands_in_the_example_file() -> None:
    example = (PROJECT / ".env.example").read_text()
    source = (PROJECT / "soloboard" / "settings.py").read_text()
    names = {*env.REQUIRED, "DEBUG", "LOG_FILE", "ALLOWED_HOSTS", "QSTASH_URL", "ALLOWED_PORTS"}
    names |= {"NETWORK_PROBES"}
    names |= {
        "ACTION_KINDS",
        "QSTASH_SCHEDULE_PREFIX",
        "ALLOWED_PRIVATE_NETWORKS",
        "SOLOBOARD_DEMO",
    }
    names |= {"RECOMMEND_EXPLORATION_SHARE", "RECOMMEND_TOPIC_SHARE"}
    assert [name for name in names if name not in source] == []
    assert [name for name in names if f"{name}=" not in example] == []
