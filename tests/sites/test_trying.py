import json
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from sites import trying
from sites.models import MonitoredSite, SiteSnapshot
from sites.outbound import Client
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    Figures,
    Health,
    Metric,
    PlatformError,
    PlatformUnavailable,
    Snapshot,
)
from sites.trying import VERDICTS, State, Trial, try_connection
from tests.sites.loopback import http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

SECRET = "made-up-secret"


def figures_at(website: Website, **fields: object) -> MonitoredSite:
    options = {
        "url": website.url("/figures"),
        "auth": "bearer",
        "figures": "visitors = v\nrevenue [EUR] = eur",
    }
    return MonitoredSite(
        name="Shop",
        platform="custom_json",
        options=options,
        credentials={"secret": SECRET},
        **fields,
    )


def try_scripted(**fields: str) -> Trial:
    return try_connection(
        MonitoredSite(platform="scripted", options={"fetch": "it"}, **fields), caller="me"
    )


def test_what_is_found_is_written_with_its_units(website: Website) -> None:
    website.pages["/figures"] = http(json.dumps({"v": 1200, "eur": "12.50"}))
    trial = try_connection(figures_at(website), caller="me")
    assert (trial.state, trial.reason) == (State.UP, "")
    assert trial.verdict == "The connection works."
    latency, *rest = trial.findings
    assert latency[0] == "Latency"
    assert rest == [("Visitors", "1,200"), ("Revenue, EUR", "12.50 EUR")]
    (request,) = website.requests
    assert request.headers["authorization"] == f"Bearer {SECRET}"


def test_days_notices_and_the_end_of_the_credentials_are_told(
    script: Callable[..., None],
) -> None:
    async def it(request: FetchRequest, client: Client) -> Snapshot:
        return Snapshot(
            taken_at=request.now,
            health=Health.UP,
            credentials_expire_at=datetime(2027, 1, 2, tzinfo=UTC),
            figures=Figures(sales=0, metrics={"mrr_eur": Metric(value=4990, unit="EUR minor")}),
            days={date(2026, 2, 6): Figures(sales=2, revenue_minor={"JPY": 1500})},
            notices=("The key may write.",),
        )

    script(it=it)
    trial = try_scripted()
    assert trial.notices == ["The key may write."]
    assert trial.findings == [
        ("The credentials end", "2027-01-02T00:00:00.000Z"),
        ("Sales", "0"),
        ("Mrr eur", "49.90 EUR"),
        ("2026-02-06", "2 (Sales), 1,500 JPY (Revenue, JPY)"),
    ]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (CredentialsRefused, State.CREDENTIALS_REFUSED),
        (ConfigurationRefused, State.MISCONFIGURED),
        (BadResponse, State.MISCONFIGURED),
        (PlatformUnavailable, State.UNAVAILABLE),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    script: Callable[..., None], error: type[PlatformError], state: State
) -> None:
    async def it(request: FetchRequest, client: Client) -> Snapshot:
        raise error("the shop answered something")

    script(it=it)
    trial = try_scripted()
    assert (trial.state, trial.verdict) == (state, VERDICTS[state])
    assert trial.reason == "The shop answered something."
    assert trial.findings == []


def test_every_state_that_an_attempt_may_come_to_has_its_verdict() -> None:
    # A trial looks at one site, so it never finds our own network away.
    assert set(State) - set(VERDICTS) == {State.NEW, State.STALE, State.OFFLINE}


def test_private_address_is_refused_as_in_any_fetch(settings: object) -> None:
    site = MonitoredSite(platform="uptime", options={"url": "http://10.0.0.7/"})
    trial = try_connection(site, caller="me")
    assert trial.state == State.MISCONFIGURED
    assert "ALLOWED_PRIVATE_NETWORKS" in trial.reason


def test_trial_ends_at_its_limit(website: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "TRIAL_LIMIT_S", 0.2)
    website.pages["/figures"] = None
    trial = try_connection(figures_at(website), caller="me")
    assert trial.state == State.UNAVAILABLE
    assert "no complete answer within 0.2 s" in trial.reason


def test_nothing_is_stored_and_the_log_holds_no_secret(
    website: Website, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    website.pages["/figures"] = http(status=401)
    site = figures_at(website)
    site.save()
    before = MonitoredSite.objects.values().get()
    trial = try_connection(MonitoredSite.objects.sealed().get(), caller="me")
    assert trial.state == State.CREDENTIALS_REFUSED
    assert MonitoredSite.objects.values().get() == before
    assert not SiteSnapshot.objects.exists()
    assert f"me tried the connection of site {site.pk} (custom_json)" in caplog.text
    assert SECRET not in caplog.text
