import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.dispatch import Signal
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sites.attempts import GOOD_STATES, Attempt, State
from sites.incidents import close_unwatched
from sites.models import Incident, IncidentEvent, MonitoredSite, SyncLog
from sites.signals import incident_closed, incident_opened, sites_synced
from sites.writing import write
from tests.sites.conftest import AddSite, RunSync
from tests.sites.loopback import http
from tests.sites.website import Website, during

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 4, 12, tzinfo=UTC)
STEP = timedelta(minutes=15)
Kind = IncidentEvent.Kind


def at(step: int) -> datetime:
    return START + step * STEP


def bare_site(name: str = "shop", **fields: Any) -> MonitoredSite:
    return MonitoredSite.objects.create(name=name, platform="uptime", **fields)


def attempt(site: MonitoredSite, step: int, state: State, reason: str = "") -> Attempt:
    reason = reason or ("" if state in GOOD_STATES else f"it is {state}")
    return Attempt(site=site, made_at=at(step), state=state, reason=reason)


def go(site: MonitoredSite, *states: State, begin: int = 0) -> None:
    """Write one attempt after the other, as syncs would that find these states."""
    for step, state in enumerate(states, begin):
        write([attempt(site, step, state)], SyncLog.objects.create())


def timeline(incident: Incident) -> list[tuple[str, str, datetime]]:
    return [(event.kind, event.state, event.at) for event in incident.events.all()]


# --- Opening and closing --------------------------------------------------------------------------


def test_an_incident_opens_with_the_last_of_n_failures_and_counts_from_the_first() -> None:
    site = bare_site(failures_to_open=3)
    go(site, State.UP, State.DOWN, State.DOWN)
    assert not Incident.objects.exists()
    go(site, State.DOWN, begin=3)
    incident = Incident.objects.get()
    assert (incident.site, incident.state, incident.reason) == (site, State.DOWN, "it is down")
    assert (incident.opened_at, incident.closed_at) == (at(1), None)
    assert timeline(incident) == [(Kind.OPENED, State.DOWN, at(3))]
    assert incident.duration(at(5)) == 4 * STEP


def test_it_closes_with_the_last_of_m_good_attempts_and_ended_with_the_first() -> None:
    site = bare_site(failures_to_open=1, successes_to_close=3)
    go(site, State.DOWN, State.UP, State.SLOW)
    assert Incident.objects.get().closed_at is None
    go(site, State.UP, begin=3)
    incident = Incident.objects.get()
    assert (incident.opened_at, incident.closed_at) == (at(0), at(1))
    assert timeline(incident)[-1] == (Kind.CLOSED, State.UP, at(3))
    assert incident.duration(at(9)) == STEP


def test_one_good_attempt_in_between_neither_closes_it_nor_opens_another() -> None:
    site = bare_site(failures_to_open=2, successes_to_close=2)
    go(site, *[State.DOWN, State.DOWN, State.UP] * 4)
    incident = Incident.objects.get()
    assert incident.closed_at is None
    assert [kind for kind, *_ in timeline(incident)] == [Kind.OPENED]


def test_failures_with_good_attempts_between_them_open_nothing() -> None:
    go(bare_site(failures_to_open=2), *[State.DOWN, State.UP] * 4)
    assert not Incident.objects.exists()


@pytest.mark.parametrize(
    "state", [State.DOWN, State.CREDENTIALS_REFUSED, State.MISCONFIGURED, State.UNAVAILABLE]
)
def test_every_kind_of_failure_is_an_incident(state: State) -> None:
    go(bare_site(failures_to_open=2), state, state)
    assert Incident.objects.get().state == state


def test_slow_is_none() -> None:
    go(bare_site(failures_to_open=1), *[State.SLOW] * 5)
    assert not Incident.objects.exists()


def test_another_state_or_kind_of_reason_is_an_entry_of_the_timeline_and_other_figures_are_not() -> (
    None
):
    site = bare_site(failures_to_open=1)
    for step, (state, reason) in enumerate(
        [
            (State.DOWN, "no answer within 10 s"),
            (State.DOWN, "no answer within 9.8 s"),
            (State.DOWN, "answered 503 Service Unavailable"),
            (State.UNAVAILABLE, "answered 503 Service Unavailable"),
        ]
    ):
        write([attempt(site, step, state, reason)], SyncLog.objects.create())
    incident = Incident.objects.get()
    assert timeline(incident) == [
        (Kind.OPENED, State.DOWN, at(0)),
        (Kind.CHANGED, State.DOWN, at(2)),
        (Kind.CHANGED, State.UNAVAILABLE, at(3)),
    ]
    assert (incident.state, incident.reason) == (
        State.UNAVAILABLE,
        "answered 503 Service Unavailable",
    )


def test_fewer_failures_asked_for_open_it_with_the_next_attempt() -> None:
    site = bare_site(failures_to_open=10)
    go(site, *[State.DOWN] * 4)
    MonitoredSite.objects.update(failures_to_open=2)
    go(site, State.DOWN, begin=4)
    assert Incident.objects.get().opened_at == at(0)


def test_attempts_of_an_away_network_count_neither_way() -> None:
    site = bare_site(failures_to_open=2, successes_to_close=2)
    away = [State.OFFLINE] * 3
    go(site, State.DOWN, *away, State.DOWN, *away, State.UP, *away, State.UP)
    incident = Incident.objects.get(site=site)
    assert (incident.opened_at, incident.closed_at) == (at(0), at(8))
    assert [kind for kind, *_ in timeline(incident)] == [Kind.OPENED, Kind.CLOSED]


# --- Sites that nobody watches any more -----------------------------------------------------------


def test_disabling_a_site_closes_its_incident_at_once_and_it_starts_afresh() -> None:
    site, other = bare_site(failures_to_open=2), bare_site("other", failures_to_open=1)
    go(site, State.DOWN, State.DOWN)
    go(other, State.DOWN)
    site.enabled = False
    site.save_settings()
    incident = Incident.objects.get(site=site)
    assert incident.closed_at is not None
    assert [kind for kind, *_ in timeline(incident)] == [Kind.OPENED, Kind.CLOSED]
    assert Incident.objects.get(site=other).closed_at is None
    site.enabled = True
    site.save_settings()
    go(site, State.DOWN, begin=100)
    assert Incident.objects.filter(site=site).count() == 1
    go(site, State.DOWN, begin=101)
    assert Incident.objects.filter(site=site, closed_at=None).get().opened_at == at(100)


def test_sites_disabled_behind_our_back_are_tidied_up_by_the_next_sync(run_sync: RunSync) -> None:
    go(bare_site(failures_to_open=1), State.DOWN)
    MonitoredSite.objects.update(enabled=False)
    run_sync()
    assert Incident.objects.get().closed_at is not None


def test_a_disabled_site_that_is_synced_by_hand_opens_nothing() -> None:
    go(bare_site(failures_to_open=1, enabled=False), State.DOWN, State.DOWN)
    assert not Incident.objects.exists()


def test_deleting_a_site_deletes_its_incidents() -> None:
    site = bare_site(failures_to_open=1)
    go(site, State.DOWN)
    site.delete()
    assert not Incident.objects.exists()
    assert not IncidentEvent.objects.exists()


# --- What it costs, and who is told ---------------------------------------------------------------


def statements(count: int) -> int:
    MonitoredSite.objects.all().delete()
    sites = [bare_site(str(number), failures_to_open=1) for number in range(count)]
    log = SyncLog.objects.create()
    with CaptureQueriesContext(connection) as queries:
        write([attempt(site, 0, State.DOWN) for site in sites], log)
    assert Incident.objects.count() == count
    return len(queries)


def test_the_number_of_statements_does_not_grow_with_the_incidents() -> None:
    assert statements(1) == statements(50)


@contextmanager
def heard(signal: Signal, name: str) -> Iterator[list[list[int]]]:
    told: list[list[int]] = []

    def listen(**kwargs: Any) -> None:
        told.append(kwargs[name])

    signal.connect(listen)
    try:
        yield told
    finally:
        signal.disconnect(listen)


def test_the_apps_above_are_told_after_the_commit(
    django_capture_on_commit_callbacks: Any,
) -> None:
    site = bare_site(failures_to_open=2, successes_to_close=1)
    with (
        heard(sites_synced, "site_ids") as synced,
        heard(incident_opened, "incident_ids") as opened,
        heard(incident_closed, "incident_ids") as closed,
    ):
        for step, state in enumerate([State.DOWN, State.DOWN, State.DOWN, State.UP]):
            with django_capture_on_commit_callbacks(execute=True):
                go(site, state, begin=step)
                assert len(synced) == step
    incident = Incident.objects.get()
    assert synced == [[site.pk]] * 4
    assert opened == closed == [[incident.pk]]


def test_a_listener_that_fails_spoils_neither_the_sync_nor_the_others(
    django_capture_on_commit_callbacks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**kwargs: Any) -> None:
        raise RuntimeError("made up")

    incident_opened.connect(fail)
    try:
        with (
            heard(incident_opened, "incident_ids") as opened,
            django_capture_on_commit_callbacks(execute=True),
        ):
            go(bare_site(failures_to_open=1), State.DOWN)
    finally:
        incident_opened.disconnect(fail)
    assert len(opened) == 1
    assert "made up" in caplog.text


# --- Against a model ------------------------------------------------------------------------------


@dataclass
class Watched:
    """What the rules say of one site, step by step and in no other way than they are worded."""

    failures_to_open: int
    successes_to_close: int
    streak: list[tuple[bool, datetime]] = field(default_factory=list)
    incidents: list[list[datetime | None]] = field(default_factory=list)

    def see(self, state: State, moment: datetime) -> None:
        if state == State.OFFLINE:
            return
        good = state in GOOD_STATES
        if self.streak and self.streak[-1][0] != good:
            self.streak = []
        self.streak.append((good, moment))
        is_open = bool(self.incidents) and self.incidents[-1][1] is None
        if good and is_open and len(self.streak) >= self.successes_to_close:
            self.incidents[-1][1] = self.streak[0][1]
        if not good and not is_open and len(self.streak) >= self.failures_to_open:
            self.incidents.append([self.streak[0][1], None])


STATES = st.sampled_from([State.UP, State.SLOW, State.DOWN, State.UNAVAILABLE, State.OFFLINE])
THRESHOLDS = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    thresholds=st.lists(THRESHOLDS, min_size=3, max_size=3),
    found=st.lists(st.tuples(STATES, STATES, STATES), max_size=20),
    whole_chunks=st.booleans(),
)
def test_incidents_are_those_of_the_rules_whatever_is_found(
    db: None,
    thresholds: list[tuple[int, int]],
    found: list[tuple[State, State, State]],
    whole_chunks: bool,
) -> None:
    MonitoredSite.objects.all().delete()
    models = [Watched(*pair) for pair in thresholds]
    sites = [
        bare_site(str(number), failures_to_open=opens, successes_to_close=closes)
        for number, (opens, closes) in enumerate(thresholds)
    ]
    log = SyncLog.objects.create()
    for step, states in enumerate(found):
        chunk = [attempt(*entry) for entry in zip(sites, [step] * 3, states, strict=True)]
        for part in [chunk] if whole_chunks else [[one] for one in chunk]:
            write(part, log)
        for model, state in zip(models, states, strict=True):
            model.see(state, at(step))
    for site, model in zip(sites, models, strict=True):
        stored = Incident.objects.filter(site=site).order_by("opened_at")
        assert [[row.opened_at, row.closed_at] for row in stored] == model.incidents
        for row in stored:
            kinds = [kind for kind, *_ in timeline(row)]
            assert kinds[0] == Kind.OPENED
            assert kinds.count(Kind.OPENED) == 1
            assert (kinds[-1] == Kind.CLOSED) == (row.closed_at is not None)
            assert kinds.count(Kind.CLOSED) <= 1


# --- Several at once ------------------------------------------------------------------------------


def test_a_second_open_incident_of_a_site_is_refused_by_the_database() -> None:
    site = bare_site()
    Incident.objects.create(site=site, state=State.DOWN, opened_at=at(0))
    with pytest.raises(IntegrityError), transaction.atomic():
        Incident.objects.create(site=site, state=State.DOWN, opened_at=at(1))


def in_threads(*works: Callable[[], None]) -> list[Exception]:
    errors: list[Exception] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_leave_one_open_incident_for_each_site() -> None:
    sites = [bare_site(str(number), failures_to_open=2) for number in range(60)]
    chunk = [attempt(site, 0, State.DOWN) for site in sites]

    def write_often(part: list[Attempt]) -> None:
        for _ in range(5):
            write(part, SyncLog.objects.create())

    errors = in_threads(
        lambda: write_often(chunk),
        lambda: write_often(chunk[::-1]),
        lambda: write_often(chunk[20:]),
    )
    assert errors == []
    assert Incident.objects.filter(closed_at=None).count() == 60
    assert IncidentEvent.objects.filter(kind=Kind.OPENED).count() == 60
    assert set(MonitoredSite.objects.values_list("failures", flat=True)) == {10, 15}


@pytest.mark.django_db(transaction=True)
def test_sites_are_deleted_and_disabled_while_their_incidents_open_and_close() -> None:
    sites = [
        bare_site(str(number), failures_to_open=1, successes_to_close=1) for number in range(60)
    ]

    def write_often() -> None:
        for step, state in enumerate([State.DOWN, State.UP] * 10):
            write([attempt(site, step, state) for site in sites], SyncLog.objects.create())

    def delete_some() -> None:
        for site in sites[:20]:
            MonitoredSite.objects.get(pk=site.pk).delete()
        MonitoredSite.objects.filter(pk__in=[site.pk for site in sites[20:40]]).delete()

    def disable_some() -> None:
        for site in sites[:39:-1]:
            MonitoredSite.objects.filter(pk=site.pk).update(enabled=False)
            close_unwatched()

    assert in_threads(write_often, delete_some, disable_some) == []
    assert MonitoredSite.objects.count() == 20
    assert not Incident.objects.exclude(site__in=MonitoredSite.objects.all()).exists()
    assert not Incident.objects.filter(closed_at=None, site__enabled=False).exists()


@pytest.mark.django_db(transaction=True)
def test_a_site_disabled_in_mid_sync_opens_nothing(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    add_site("shop", failures_to_open=1)

    def disable() -> None:
        site = MonitoredSite.objects.get()
        site.enabled = False
        site.save_settings()

    website.pages["/shop"] = during(disable, status=500)
    run_sync()
    assert not Incident.objects.exists()


def test_a_page_that_fails_and_comes_back_is_one_incident_from_end_to_end(
    add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    site = add_site("shop")
    for status in (200, 500, 500, 200, 200):
        website.pages["/shop"] = http(status=status)
        MonitoredSite.objects.update(not_before=None)
        run_sync()
    incident = Incident.objects.get()
    assert (incident.site, incident.state) == (site, State.DOWN)
    assert incident.reason == "answered 500 Internal Server Error; expected 200-399"
    points = list(site.snapshots.order_by("taken_at"))
    assert (incident.opened_at, incident.closed_at) == (points[1].taken_at, points[3].taken_at)
