import asyncio
import json
import logging
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from sites.attempts import (
    FIRST_WAIT,
    LONGEST_RETRY_AFTER,
    LONGEST_WAIT,
    LONGEST_WAIT_WHEN_DOWN,
    Attempt,
    State,
    attempt,
    storable_json,
    storable_text,
)
from sites.models import MonitoredSite
from sites.outbound import Client, Outbound
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
from tests.sites.conftest import AddSite
from tests.sites.website import Website

NOW = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
BAD_STATES = [state for state in State if state not in (State.UP, State.SLOW, State.OFFLINE)]


def scripted_site(fetch: str = "it", **fields: Any) -> MonitoredSite:
    return MonitoredSite(pk=1, platform="scripted", options={"fetch": fetch}, **fields)


def try_once(site: MonitoredSite, *, timeout_s: float = 30.0) -> Attempt:
    async def run() -> Attempt:
        return await attempt(site, Outbound(), timeout_s=timeout_s)

    return asyncio.run(run())


def failing(error: BaseException) -> Any:
    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        raise error

    return fetch


def finding(snapshot: Any) -> Any:
    async def fetch(request: FetchRequest, client: Client) -> Any:
        return snapshot

    return fetch


def failed(failures: int, state: State = State.UNAVAILABLE, **fields: Any) -> Attempt:
    """An attempt at a site that has failed this often before."""
    return Attempt(site=MonitoredSite(failures=failures), made_at=NOW, state=state, **fields)


def wait_of(made: Attempt) -> timedelta:
    assert made.not_before is not None
    return made.not_before - made.made_at


# --- The wait after a failure ---------------------------------------------------------------------


@given(
    failures=st.integers(0, 2**31 - 2),
    state=st.sampled_from(BAD_STATES),
    retry_after_s=st.none() | st.floats(),
)
def test_a_failing_site_waits_but_never_leaves_the_rotation(
    failures: int, state: State, retry_after_s: float | None
) -> None:
    made = failed(failures, state, retry_after_s=retry_after_s)
    assert FIRST_WAIT <= wait_of(made) <= LONGEST_RETRY_AFTER
    assert made.failures == failures + 1


@given(failures=st.integers(0, 1000), state=st.sampled_from(BAD_STATES))
def test_the_wait_grows_with_each_failure_up_to_its_bound(failures: int, state: State) -> None:
    longest = LONGEST_WAIT_WHEN_DOWN if state == State.DOWN else LONGEST_WAIT
    earlier, later = wait_of(failed(failures, state)), wait_of(failed(failures + 1, state))
    assert later == min(2 * earlier, longest)


@given(retry_after_s=st.floats(allow_nan=True), failures=st.integers(0, 20))
def test_a_platform_can_lengthen_the_wait_and_not_shorten_it(
    retry_after_s: float, failures: int
) -> None:
    asked = failed(failures, retry_after_s=retry_after_s)
    assert wait_of(asked) >= wait_of(failed(failures))
    if math.isfinite(retry_after_s) and 3600 <= retry_after_s <= 6 * 3600:
        assert wait_of(asked) == timedelta(seconds=retry_after_s)


def test_a_site_neither_waits_nor_counts_one_more_failure_because_our_network_was_away() -> None:
    made = failed(3, State.OFFLINE, retry_after_s=60.0)
    assert (made.is_success, made.failures, made.not_before) == (False, 3, None)


@pytest.mark.parametrize("state", [State.UP, State.SLOW])
def test_a_success_ends_the_wait_and_the_count(state: State) -> None:
    made = failed(7, state)
    assert made.not_before is None
    assert made.failures == 0


# --- What goes wrong becomes a state --------------------------------------------------------------


class KeyExpired(CredentialsRefused):
    """A platform's own kind of a known error."""


class StrangeError(PlatformError):
    """A platform's own kind of none of them."""


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (CredentialsRefused("enter them again"), State.CREDENTIALS_REFUSED),
        (ConfigurationRefused("no such host"), State.MISCONFIGURED),
        (BadResponse("not JSON"), State.MISCONFIGURED),
        (PlatformUnavailable("503"), State.UNAVAILABLE),
        (KeyExpired("make a new one"), State.CREDENTIALS_REFUSED),
        (StrangeError("who knows"), State.UNAVAILABLE),
    ],
)
def test_each_error_of_a_platform_has_its_state_and_keeps_its_words(
    script: Any, error: PlatformError, state: State
) -> None:
    script(it=failing(error))
    made = try_once(scripted_site())
    assert (made.state, made.reason, made.snapshot) == (state, str(error), None)


def test_what_a_platform_asks_to_wait_is_kept(script: Any) -> None:
    script(it=failing(PlatformUnavailable("429", retry_after_s=7200)))
    assert wait_of(try_once(scripted_site())) == timedelta(hours=2)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), AssertionError(), MemoryError()])
def test_a_crash_costs_one_site_and_is_logged(
    script: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    script(it=failing(error))
    made = try_once(scripted_site())
    assert made.state == State.UNAVAILABLE
    assert type(error).__name__ in made.reason
    assert "platform scripted has a bug" in caplog.text


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(None, id="nothing"),
        pytest.param(
            Snapshot(
                taken_at=NOW,
                health=Health.UP,
                figures=Figures(metrics={"rate": Metric(value=math.nan)}),
            ),
            id="not a number",
        ),
        pytest.param(
            Snapshot(taken_at=NOW, health=Health.UP, latency_ms=object()),  # type: ignore[arg-type]
            id="no JSON",
        ),
    ],
)
def test_a_snapshot_that_cannot_be_stored_is_a_bug_of_its_platform(
    script: Any, caplog: pytest.LogCaptureFixture, found: Any
) -> None:
    script(it=finding(found))
    made = try_once(scripted_site())
    assert (made.state, made.snapshot) == (State.UNAVAILABLE, None)
    assert "has a bug" in caplog.text


def test_a_platform_that_waits_for_something_else_is_cut_off(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(request: FetchRequest, client: Client) -> Snapshot:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("sites.attempts.CUT_OFF_GRACE_S", 0.0)
    script(it=hang)
    made = try_once(scripted_site(), timeout_s=0.05)
    assert (made.state, made.reason) == (State.UNAVAILABLE, "Not done within 0.05 s.")


def test_a_site_that_the_sync_has_no_more_time_for_is_not_called_down(
    add_site: AddSite, website: Website, settings: Settings, db: None
) -> None:
    website.pages["/hang"] = None
    site, outbound = add_site("hang"), Outbound(allowed_networks=settings.ALLOWED_PRIVATE_NETWORKS)

    async def run() -> Attempt:
        return await attempt(site, outbound, timeout_s=0.2)

    made = asyncio.run(run())
    assert made.state == State.UNAVAILABLE
    assert "waiting for its answer" in made.reason


# --- Settings that cannot be used any more --------------------------------------------------------


def test_a_platform_that_has_gone_is_named_with_those_there_are() -> None:
    made = try_once(MonitoredSite(pk=1, platform="gone"))
    assert made.state == State.MISCONFIGURED
    assert "no platform 'gone'; there are: uptime" in made.reason


@pytest.mark.parametrize("zone", ["Mars/Phobos", "", "../etc/passwd"])
def test_a_time_zone_that_has_gone_needs_attention(script: Any, zone: str) -> None:
    script(it=finding(None))
    assert try_once(scripted_site(timezone=zone)).state == State.MISCONFIGURED


def test_options_of_another_form_cost_one_site(script: Any) -> None:
    script(it=finding(None))
    site = scripted_site()
    site.options = ["not", "a", "dict"]
    assert try_once(site).state == State.UNAVAILABLE


@pytest.mark.django_db
def test_credentials_without_their_key_name_the_key_that_is_missing(
    script: Any, settings: Settings
) -> None:
    script(it=finding(None))
    scripted = MonitoredSite.objects.create(
        name="Shop", platform="scripted", options={"fetch": "it"}, credentials={"token": "made-up"}
    )
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    made = try_once(MonitoredSite.objects.sealed().get(pk=scripted.pk))
    assert made.state == State.MISCONFIGURED
    assert "SOLOBOARD_SECRET_KEYS does not hold" in made.reason


@pytest.mark.django_db
def test_the_platform_gets_the_complete_options_and_the_open_credentials(script: Any) -> None:
    requests = []

    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        requests.append(request)
        return Snapshot(taken_at=request.now, health=Health.UP)

    script(it=fetch)
    MonitoredSite.objects.create(
        name="Shop",
        platform="scripted",
        options={"fetch": "it"},
        credentials={"token": "made-up"},
        timezone="Asia/Kolkata",
    )
    made = try_once(MonitoredSite.objects.sealed().get())
    (request,) = requests
    assert made.state == State.UP
    assert request.options == {"fetch": "it"}
    assert request.credentials == {"token": "made-up"}
    assert request.time_zone.key == "Asia/Kolkata"
    assert request.now == made.made_at


def test_no_credential_is_logged_or_shown_when_a_fetch_fails(
    script: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script(it=failing(RuntimeError("a bug")))
    made = try_once(scripted_site(credentials={"token": "made-up-token"}))
    formatter = logging.Formatter()
    log = "".join(formatter.format(record) for record in caplog.records)
    assert "made-up-token" not in f"{made!r}{made.reason}{made.site!r}{log}"


# --- What can be stored ---------------------------------------------------------------------------


@given(st.text(alphabet=st.characters()) | st.just("\\u0000\0\\\0\ud83d"))
def test_storable_text_keeps_everything_that_postgresql_takes(text: str) -> None:
    stored = storable_text(text)
    assert "\0" not in stored
    stored.encode()
    if "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert stored == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters()) | st.just("\\\0\\\\\0\\u0000"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)  # fmt: skip


@given(JSON)
def test_storable_json_differs_only_by_what_postgresql_cannot_store(value: Any) -> None:
    assert json.loads(storable_json(value)) == _cleaned(value)


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return storable_text(value)
        case list():
            return [_cleaned(item) for item in value]
        case dict():
            return {storable_text(name): _cleaned(item) for name, item in value.items()}
    return value
