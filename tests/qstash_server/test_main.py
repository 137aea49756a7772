"""The command line, as a parent process and a shell see it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from qstash import QStash, Receiver
from qstash.errors import QStashError

from qstash_server.settings import DEVELOPMENT_KEYS, DEVELOPMENT_TOKEN
from tests.qstash_server.running import DEADLINE_S, Reply, Sink, publish

ROOT = Path(__file__).parents[2]


def command(state: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "qstash_server", "--port", "0", "--state", str(state), *arguments]


def environment(**changes: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("QSTASH_")}
    return inherited | changes


@contextmanager
def started(
    state: Path, *arguments: str, **changes: str
) -> Iterator[tuple["subprocess.Popen[str]", QStash]]:
    """Start a server as a child and read what it prints; it is killed at the end."""
    process = subprocess.Popen(
        command(state, *arguments),
        cwd=ROOT,
        env=environment(**changes),
        text=True,
        stdout=subprocess.PIPE,
    )
    try:
        printed = read_lines(process)
        sdk = QStash(printed["QSTASH_TOKEN"], retry=False, base_url=printed["QSTASH_URL"])
        try:
            yield process, sdk
        finally:
            sdk.http._client.close()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_lines(process: "subprocess.Popen[str]") -> dict[str, str]:
    assert process.stdout is not None
    return dict(process.stdout.readline().strip().split("=", 1) for _ in range(4))


def run(state: Path, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(state, *arguments),
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_prints_where_it_is_and_its_credentials_once_it_answers(state: Path) -> None:
    with started(state) as (_, sdk):
        keys = sdk.signing_key.get()
        assert (keys.current, keys.next) == (DEVELOPMENT_KEYS.current, DEVELOPMENT_KEYS.next)
        assert sdk.http._token == f"Bearer {DEVELOPMENT_TOKEN}"


def test_credentials_come_from_the_environment(state: Path, sink: Sink) -> None:
    current, following = "sig_" + "c" * 28, "sig_" + "n" * 28
    changes = {
        "QSTASH_TOKEN": "made-up",
        "QSTASH_CURRENT_SIGNING_KEY": current,
        "QSTASH_NEXT_SIGNING_KEY": following,
    }
    with started(state, **changes) as (_, sdk):
        sdk.message.publish(url=sink.url + "/x", body="x")
        [delivery] = sink.wait_for("/x")
    Receiver(current, following).verify(
        signature=delivery.headers["Upstash-Signature"], body="x", url=sink.url + "/x"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_it_in_order(state: Path, number: signal.Signals) -> None:
    with started(state) as (process, sdk):
        sdk.schedule.create(destination="https://a.example", cron="@daily", schedule_id="s")
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 0
    assert not state.with_name(state.name + "-wal").exists()
    with started(state) as (_, sdk):
        assert sdk.schedule.get("s").cron == "@daily"


def test_taken_port_is_one_sentence_and_exit_code_1(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = run(state, "--port", str(port))
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert f"The port {port} on 127.0.0.1 cannot be used" in finished.stderr
    assert "--port" in finished.stderr
    assert not state.exists()


def test_second_server_on_the_same_state_is_refused(state: Path) -> None:
    with started(state):
        finished = run(state)
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert "Another server is using the state" in finished.stderr


def test_public_token_is_refused_off_the_loopback(state: Path) -> None:
    finished = run(state, "--host", "0.0.0.0")  # noqa: S104 - it must be refused
    assert finished.returncode == 1
    assert "QSTASH_TOKEN" in finished.stderr


def test_bad_duration_is_a_usage_error(state: Path) -> None:
    finished = run(state, "--log-retention", "soon")
    assert finished.returncode == 2
    assert "1d10h30m" in finished.stderr


def test_message_in_flight_at_a_kill_is_delivered_again_with_its_id(
    state: Path, sink: Sink
) -> None:
    url = sink.reply("/slow", Reply(delay_s=10), Reply())
    with started(state) as (process, sdk):
        message_id = publish(sdk, url, body="x").message_id
        waiting_id = publish(sdk, sink.url + "/soon", body="y", delay=1).message_id
        sdk.schedule.create(destination=url, cron="@daily", schedule_id="s")
        sink.wait_for("/slow")
        process.kill()
        process.wait()
    with started(state) as (_, sdk):
        assert sdk.schedule.get("s").cron == "@daily"
        deliveries = sink.wait_for("/slow", 2)
        assert [d.headers["Upstash-Message-Id"] for d in deliveries] == [message_id] * 2
        [soon] = sink.wait_for("/soon")
        assert soon.headers["Upstash-Message-Id"] == waiting_id


def test_destinations_of_the_command_line_are_the_only_ones(state: Path, sink: Sink) -> None:
    port = sink.url.rpartition(":")[2]
    listed = ("--destination", f"127.0.0.1:{port}", "--destination", "*.example.com")
    with started(state, *listed) as (_, sdk):
        sdk.message.publish(url=sink.url + "/x", body="x")
        sdk.schedule.create(destination="https://b.example.com", cron="@daily")
        with pytest.raises(QStashError, match=r"400.*127\.0\.0\.1:9 is not on this server's list"):
            sdk.message.publish(url="http://127.0.0.1:9/x", body="x")
        sink.wait_for("/x")


def test_destination_that_is_no_host_is_one_sentence_and_exit_code_1(state: Path) -> None:
    finished = run(state, "--destination", "http://a.example/")
    assert finished.returncode == 1
    assert finished.stderr.startswith("The destination 'http://a.example/' is not a host")
    assert finished.stderr.count("\n") == 1
