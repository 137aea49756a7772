"""A site goes down and comes back, and who is to know it does; then the same with processes that die.

The product, the QStash server and the SMTP server are real ones; made up are the site and who gets
the webhook.
"""

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from alerts.evaluating import evaluate
from alerts.jobs import request_evaluation
from alerts.models import Alert, AlertRule, Channel, Delivery
from scheduling.models import JobRun
from sites.models import MonitoredSite
from tests.alerts.mailbox import Mailbox
from tests.qstash import running_qstash
from tests.scheduling.calls import Calls
from tests.scheduling.server import Server, running_server
from tests.sites.loopback import Request, http
from tests.sites.website import Website

WAIT_S = 60
ADDRESS = "founder@example.com"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

Serve = Callable[[], AbstractContextManager[Server]]


def wait_until(what: Callable[[], Any], why: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


@pytest.fixture
def mail_port() -> int:
    """Free, and below what the system gives to those who ask for any: no other test takes it between."""
    while True:
        port = random.randrange(20_000, 30_000)  # noqa: S311 - not a secret
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture
def serve(
    tmp_path: Path, settings: Settings, mail_port: int, transactional_db: None
) -> Iterator[Serve]:
    """Start the product as a process of its own, again and again at the same address; it and the
    QStash server know of each other.
    """
    with running_qstash(tmp_path / "qstash.sqlite3") as qstash:
        for name, value in qstash.items():
            setattr(settings, name, value)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        settings.APP_URL = f"http://127.0.0.1:{port}"

        def serve() -> AbstractContextManager[Server]:
            return running_server(
                tmp_path,
                port=port,
                knows_itself=True,
                environment={
                    "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
                    "EMAIL_URL": f"smtp://127.0.0.1:{mail_port}",
                    "EMAIL_FROM": "board@example.com",
                    **qstash,
                },
            )

        yield serve


@pytest.fixture
def site(receiver: Website, serve: Serve) -> MonitoredSite:
    return MonitoredSite.objects.create(
        name="shop", platform="uptime", options={"url": receiver.url("/shop")}
    )


def add_rule(*channels: Channel) -> AlertRule:
    rule = AlertRule.objects.create(
        name="Shop is down", kind="down", options={"minutes": 0}, cooldown_minutes=0
    )
    rule.channels.set(channels)
    return rule


def mail() -> Channel:
    return Channel.objects.create(name="mail", kind="email", options={"to": ADDRESS})


def hook(receiver: Website) -> Channel:
    return Channel.objects.create(
        name="hook", kind="webhook", options={}, secrets={"url": receiver.url("/hook")}
    )


def sync(server: Server) -> None:
    """Sync whatever may be synced, over HTTP."""
    MonitoredSite.objects.update(not_before=None)
    with Calls(server.address) as calls:
        assert calls.with_secret("POST", "/api/cron/sync-sites").status_code == 200


def hooks(receiver: Website) -> list[Request]:
    return [request for request in receiver.requests if request.target == "/hook"]


def sent() -> int:
    return Delivery.objects.filter(status=Delivery.Status.SENT).count()


def end_leases() -> None:
    """Leases last longer than a test may, so their end comes to them."""
    JobRun.objects.filter(status="running").update(lease_expires_at=LONG_AGO)
    Delivery.objects.filter(status="sending").update(lease_expires_at=LONG_AGO)


def test_an_alert_and_its_recovery_arrive_once_by_mail_and_by_webhook(
    serve: Serve, site: MonitoredSite, receiver: Website, mail_port: int
) -> None:
    with Mailbox(mail_port) as mailbox, serve() as server:
        add_rule(mail(), hook(receiver))
        sync(server)
        receiver.pages["/shop"] = http("gone", status=503)
        sync(server)
        wait_until(lambda: sent() == 2, "The alert was not sent over both channels.")
        receiver.pages["/shop"] = http("back")
        sync(server)
        wait_until(lambda: sent() == 4, "The recovery was not sent over both channels.")
        # Nothing is left over that a further evaluation would send.
        with Calls(server.address) as calls:
            answer = calls.with_secret("POST", "/api/cron/evaluate-alerts").json()
        assert answer["result"]["published"] == answer["result"]["messages"] == 0

    down, back = mailbox.mails
    assert down["Subject"] == "ALERT: shop: Shop is down"
    assert back["Subject"] == "OK: shop: Shop is down"
    assert down["From"] == "board@example.com"
    assert mailbox.recipients == [[ADDRESS], [ADDRESS]]
    text = down.get_content()
    assert "503" in text
    assert f"{server.address}/admin/alerts/alert/{Alert.objects.get().pk}/change/" in text

    first, second = (json.loads(request.body) for request in hooks(receiver))
    assert [first["events"][0]["event"], second["events"][0]["event"]] == ["opened", "recovered"]
    assert first["text"].startswith("ALERT: shop: Shop is down\nDown for")
    keys = [request.headers["idempotency-key"] for request in hooks(receiver)]
    ids = (
        Delivery.objects.filter(channel__kind="webhook")
        .order_by("created_at")
        .values_list("pk", flat=True)
    )
    assert keys == [str(pk) for pk in ids]


def test_a_message_whose_process_was_killed_before_the_server_took_it_arrives_once(
    serve: Serve, site: MonitoredSite, receiver: Website, mail_port: int
) -> None:
    add_rule(mail())
    receiver.pages["/shop"] = http("gone", status=503)
    with ExitStack() as stack:
        # A mail server that hangs: the connection stands, and no greeting comes.
        hanging = stack.enter_context(socket.create_server(("127.0.0.1", mail_port)))
        server = stack.enter_context(serve())
        sync(server)
        connection, _ = hanging.accept()
        stack.enter_context(connection)
        server.kill()
    assert Delivery.objects.get().status == "sending"
    end_leases()
    with Mailbox(mail_port) as mailbox, serve():
        wait_until(lambda: sent() == 1, "The message was not sent after all.")
    assert [it["Message-ID"] for it in mailbox.mails] == [
        f"<{Delivery.objects.get().pk}@example.com>"
    ]


def test_a_message_whose_process_was_killed_before_it_knew_is_repeated_with_the_same_id(
    serve: Serve, site: MonitoredSite, receiver: Website
) -> None:
    add_rule(hook(receiver))
    receiver.pages["/shop"] = http("gone", status=503)
    receiver.pages["/hook"] = None  # It has the message, and the answer does not come.
    with serve() as server:
        sync(server)
        wait_until(lambda: hooks(receiver), "The message was not sent.")
        server.kill()
    receiver.pages["/hook"] = http("thanks")
    end_leases()
    with serve():
        wait_until(lambda: sent() == 1, "The message was not sent again.")
    first, second = hooks(receiver)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert "may be a repetition" not in json.loads(first.body)["text"]
    assert "may be a repetition" in json.loads(second.body)["text"]


def test_an_alert_of_a_time_in_which_qstash_was_away_is_sent_by_the_next_evaluation(
    serve: Serve, site: MonitoredSite, receiver: Website
) -> None:
    add_rule(hook(receiver))
    receiver.pages["/shop"] = http("gone", status=503)
    with serve() as server:
        with Calls(server.address) as calls:
            assert calls.with_secret("POST", "/api/cron/sync-sites").status_code == 200
        # As when the process dies after the commit, or QStash takes nothing: only the rows are there.
        assert evaluate(timezone.now()).messages == 1
        assert hooks(receiver) == []
        request_evaluation()
        wait_until(lambda: sent() == 1, "The message was not sent after all.")
    assert len(hooks(receiver)) == 1


def test_a_channel_that_was_down_gets_its_message_when_it_is_back(
    serve: Serve, site: MonitoredSite, receiver: Website
) -> None:
    add_rule(hook(receiver))
    receiver.pages["/shop"] = http("gone", status=503)
    receiver.pages["/hook"] = http("down as well", status=500)
    waiting = Delivery.objects.filter(status=Delivery.Status.WAITING, attempts=1)
    with serve() as server:
        sync(server)
        wait_until(waiting.exists, "The failure was not written.")
        receiver.pages["/hook"] = http("back")
        # The wait lasts longer than a test may, so its end comes to it.
        waiting.update(due_at=LONG_AGO)
        request_evaluation()
        wait_until(lambda: sent() == 1, "The message was not sent after all.")
    first, second = hooks(receiver)
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
