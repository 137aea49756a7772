from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from encryption.keyring import DecryptionFailed
from sites.models import STALE_AFTER, STATE_OF_HEALTH, MonitoredSite, SiteSnapshot, SyncLog
from sites.platforms.base import Health

NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
State = MonitoredSite.State


def add(name: str, *, tried_min_ago: int | None = None, **fields: Any) -> MonitoredSite:
    if tried_min_ago is not None:
        fields["last_attempt_at"] = NOW - timedelta(minutes=tried_min_ago)
    return MonitoredSite.objects.create(name=name, platform="uptime", **fields)


def due_names(attempted_before: datetime = NOW) -> list[str]:
    due = MonitoredSite.objects.due(now=NOW, attempted_before=attempted_before)
    return [site.name for site in due]


# --- What is due ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_new_sites_come_first_then_those_that_waited_longest() -> None:
    add("an hour", tried_min_ago=60)
    add("a day", tried_min_ago=24 * 60)
    add("new")
    add("a minute", tried_min_ago=1)
    add("newer")
    assert due_names() == ["new", "newer", "a day", "an hour", "a minute"]


@pytest.mark.django_db
def test_disabled_and_waiting_sites_are_not_due() -> None:
    add("disabled", enabled=False)
    add("waiting", not_before=NOW + timedelta(microseconds=1))
    add("done waiting", not_before=NOW)
    assert due_names() == ["done waiting"]


@pytest.mark.django_db
def test_what_was_tried_since_a_moment_is_left_out() -> None:
    add("before", tried_min_ago=6)
    add("at that moment", tried_min_ago=5)
    add("since", tried_min_ago=4)
    add("never")
    assert due_names(attempted_before=NOW - timedelta(minutes=5)) == ["never", "before"]


@pytest.mark.django_db
def test_no_site_is_ever_passed_over_for_good() -> None:
    """Whoever takes three sites at a time reaches all of them in turn."""
    for number in range(7):
        add(f"site {number}")
    turns = []
    for turn in range(7):
        now = NOW + timedelta(minutes=turn)
        due = list(MonitoredSite.objects.due(now=now, attempted_before=now)[:3])
        turns += [site.name for site in due]
        MonitoredSite.objects.filter(pk__in=[site.pk for site in due]).update(last_attempt_at=now)
    assert all(turns.count(f"site {number}") >= 2 for number in range(7))


@pytest.mark.django_db
def test_stale_sites_are_those_without_a_snapshot_since() -> None:
    add("never")
    add("old", last_sync_at=NOW - timedelta(minutes=20))
    add("fresh", last_sync_at=NOW - timedelta(minutes=19))
    stale = MonitoredSite.objects.synced_before(NOW - timedelta(minutes=19))
    assert {site.name for site in stale} == {"never", "old"}


# --- States ---------------------------------------------------------------------------------------


@given(state=st.sampled_from(State), age=st.none() | st.timedeltas(timedelta(), timedelta(days=9)))
def test_only_a_good_state_of_an_enabled_site_goes_stale(
    state: State, age: timedelta | None
) -> None:
    is_old = age is None or age > STALE_AFTER
    last_sync_at = None if age is None else timezone.now() - age
    site = MonitoredSite(state=state, last_sync_at=last_sync_at)
    goes_stale = is_old and state in (State.UP, State.SLOW)
    assert site.shown_state == (State.STALE if goes_stale else state)
    site.enabled = False
    assert site.shown_state == state


@pytest.mark.django_db
def test_sites_are_found_by_the_state_that_is_shown() -> None:
    now = timezone.now()
    ages = {"fresh": now, "old": now - STALE_AFTER - timedelta(minutes=1), "never": None}
    for age, last_sync_at in ages.items():
        for state in set(State) - {State.STALE}:  # Staleness is computed, never stored.
            for enabled in (True, False):
                add(
                    f"{age} {state} {enabled}",
                    state=state,
                    last_sync_at=last_sync_at,
                    enabled=enabled,
                )
    for state in State:
        found = set(MonitoredSite.objects.shown_as(state))
        assert found == {site for site in MonitoredSite.objects.all() if site.shown_state == state}


def test_every_health_is_a_state() -> None:
    assert set(STATE_OF_HEALTH) == set(Health)


# --- Fields ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_an_unknown_platform_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match="No platform 'gone'; there are: uptime") as caught:
        MonitoredSite(name="Shop", platform="gone").full_clean()
    assert set(caught.value.message_dict) == {"platform"}


@pytest.mark.django_db
def test_a_time_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        MonitoredSite(name="Shop", platform="uptime", timezone="Mars/Phobos").full_clean()
    assert set(caught.value.message_dict) == {"timezone"}


def test_a_platform_that_has_gone_is_still_shown_by_its_key() -> None:
    assert MonitoredSite(platform="uptime").platform_name == "Uptime"
    assert MonitoredSite(platform="gone").platform_name == "gone"


@pytest.mark.django_db
def test_sealed_sites_can_be_read_without_the_key_of_their_credentials(settings: Settings) -> None:
    add("locked", credentials={"token": "made-up"})
    add("open")
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    locked, plain = MonitoredSite.objects.sealed().order_by("name")
    with pytest.raises(DecryptionFailed):
        locked.open_credentials()
    assert plain.open_credentials() == {}


@pytest.mark.django_db
def test_sealed_credentials_open_without_a_query(django_assert_num_queries: Any) -> None:
    add("shop", credentials={"token": "made-up"})
    site = MonitoredSite.objects.sealed().get()
    with django_assert_num_queries(0):
        assert site.open_credentials() == {"token": "made-up"}
        assert site.credentials == {"token": "made-up"}


def test_no_representation_holds_a_credential() -> None:
    site = MonitoredSite(name="Shop", credentials={"token": "made-up-token"})
    assert "made-up" not in f"{site!r} {site} {SiteSnapshot(site=site, taken_at=NOW)}"


@pytest.mark.django_db
def test_a_site_takes_its_history_with_it_and_a_log_does_not() -> None:
    site, log = add("shop"), SyncLog.objects.create()
    entry = SiteSnapshot.objects.create(site=site, sync_log=log, taken_at=NOW, state=State.UP)
    log.delete()
    entry.refresh_from_db()
    assert entry.sync_log is None
    site.delete()
    assert not SiteSnapshot.objects.exists()
