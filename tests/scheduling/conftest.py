"""The webhooks on a live server, and a job to call there."""

import logging
from collections.abc import Iterator

import pytest
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer
from qstash import QStash

from scheduling.registry import registry
from tests.qstash import running_qstash
from tests.scheduling.calls import Calls
from tests.scheduling.work import Work


@pytest.fixture
def work(settings: Settings) -> Iterator[Work]:
    """A registered job with a route of its own."""
    settings.ROOT_URLCONF = "tests.scheduling.urls"
    work = Work()
    registry.register(work.job())
    yield work
    registry.unregister("tests-work")


@pytest.fixture
def calls(
    live_server: LiveServer, settings: Settings, caplog: pytest.LogCaptureFixture
) -> Iterator[Calls]:
    """A client of the live server. Neither its answers nor the log may hold a secret."""
    with Calls(live_server.url) as calls:
        yield calls
    refuse_secrets(
        settings,
        *(f"{answer.headers}\n{answer.text}" for answer in calls.answers),
        *(logging.Formatter().format(record) for record in caplog.get_records("call")),
    )
    for answer in calls.answers:
        assert "Traceback (most recent call last)" not in answer.text


def refuse_secrets(settings: Settings, *texts: str) -> None:
    """Fail when one of the texts holds a secret of the settings."""
    secrets = [
        settings.CRON_SECRET,
        settings.SECRET_KEY,
        settings.QSTASH_TOKEN,
        settings.QSTASH_CURRENT_SIGNING_KEY,
        settings.QSTASH_NEXT_SIGNING_KEY,
        *settings.SOLOBOARD_SECRET_KEYS,
    ]
    for text in texts:
        for secret in secrets:
            assert secret not in text


@pytest.fixture(scope="session")
def qstash_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The QStash server of this repository, and what it says about itself."""
    with running_qstash(tmp_path_factory.mktemp("qstash") / "state.sqlite3") as variables:
        yield variables


@pytest.fixture
def remote(qstash_server: dict[str, str], settings: Settings) -> Iterator[QStash]:
    """That server as the app knows it, empty; the returned client looks at it past the app."""
    settings.QSTASH_URL = qstash_server["QSTASH_URL"]
    settings.QSTASH_TOKEN = qstash_server["QSTASH_TOKEN"]
    client = QStash(settings.QSTASH_TOKEN, base_url=settings.QSTASH_URL, retry=False)
    for schedule in client.schedule.list():
        client.schedule.delete(schedule.schedule_id)
    yield client
    client.http._client.close()  # The SDK has no close of its own.
