import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings

from sites import network
from sites.attempts import Attempt, State, attempt
from sites.models import Incident, IncidentEvent, MonitoredSite, SiteSnapshot, SyncLog
from sites.network import AWAY, UNKNOWN
from sites.outbound import Outbound
from sites.writing import write
from tests.sites.conftest import AddSite, RunSync
from tests.sites.loopback import http, resolving_to
from tests.sites.website import Website, after, during

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 4, 12, tzinfo=UTC)
#: A name that no resolver knows (RFC 6761), as every name is one while the network is away.
NOBODY = "http://{}.invalid/"

Probes = Callable[..., None]


@pytest.fixture
def probes(website: Website, settings: Settings) -> Probes:
    """Have two known-good hosts, which answer this."""
    settings.NETWORK_PROBES = [website.url("/first"), website.url("/second")]

    def answer(first: Any, second: Any) -> None:
        website.pages |= {"/first": first, "/second": second}

    return answer


GOOD, BAD = http(status=204), b""


def asked(website: Website) -> int:
    """How often the known-good hosts were asked."""
    return sum(path in ("/first", "/second") for path in website.paths)


def nowhere(name: str, **fields: Any) -> MonitoredSite:
    return MonitoredSite.objects.create(
        name=name, platform="uptime", options={"url": NOBODY.format(name)}, **fields
    )


def states() -> dict[str, str]:
    return dict(MonitoredSite.objects.values_list("name", "state"))


def made(
    site: MonitoredSite, *, answered: bool | None, minute: int = 0, state: State | None = None
) -> Attempt:
    state = state or (State.UP if answered else State.DOWN)
    return Attempt(
        site=site,
        made_at=START + timedelta(minutes=minute),
        state=state,
        internet_answered=answered,
        snapshot='{"latency_ms": null}',
    )


def bare_sites(count: int) -> list[MonitoredSite]:
    return [
        MonitoredSite.objects.create(name=str(number), platform="uptime", failures_to_open=1)
        for number in range(count)
    ]


def store(*attempts: Attempt) -> None:
    write(list(attempts), SyncLog.objects.create())


# --- Through a whole sync -------------------------------------------------------------------------


def test_many_sites_and_the_known_good_hosts_away_are_one_incident_of_our_own_network(
    probes: Probes, run_sync: RunSync
) -> None:
    probes(BAD, BAD)
    for number in range(10):
        nowhere(f"site-{number}", failures_to_open=1)
    assert dict(run_sync().counts) == {"total": 10, "success": 0, "failed": 10}
    incident = Incident.objects.get()
    assert (incident.site, incident.state, incident.reason) == (None, State.OFFLINE, AWAY)
    first = SiteSnapshot.objects.order_by("taken_at")[0]
    assert incident.opened_at == first.taken_at
    assert str(incident) == "our own network: our own network is away"
    for site in MonitoredSite.objects.all():
        assert (site.state, site.state_reason) == (State.OFFLINE, UNKNOWN)
        assert (site.failures, site.not_before, site.last_snapshot) == (0, None, None)
        assert site.last_sync_at is None
    assert set(SiteSnapshot.objects.values_list("state", "data")) == {(State.OFFLINE, None)}


def test_sites_are_tried_again_at_once_and_the_incident_ends_when_they_answer(
    probes: Probes, run_sync: RunSync, website: Website
) -> None:
    probes(BAD, BAD)
    for number in range(3):
        nowhere(f"site-{number}")
    run_sync()
    assert run_sync().counts["total"] == 3
    probes(BAD, GOOD)
    run_sync()
    incident = Incident.objects.get()
    assert incident.closed_at is not None
    assert [event.kind for event in incident.events.all()] == ["opened", "closed"]
    assert set(MonitoredSite.objects.values_list("state", "failures")) == {(State.DOWN, 1)}


def test_many_sites_that_are_down_while_a_known_good_host_answers_are_down(
    probes: Probes, run_sync: RunSync, website: Website
) -> None:
    probes(BAD, GOOD)
    for number in range(5):
        nowhere(f"site-{number}", failures_to_open=1)
    run_sync()
    assert set(states().values()) == {State.DOWN}
    assert Incident.objects.filter(site__isnull=False).count() == 5
    assert not Incident.objects.filter(site=None).exists()
    assert asked(website) == 2


@pytest.mark.parametrize(
    "answer", [http(status=302, headers={"Location": "/login"}), http(status=511), after(60)]
)
def test_a_redirect_an_error_or_silence_is_no_answer_of_a_known_good_host(
    answer: Any, probes: Probes, run_sync: RunSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "PROBE_TIMEOUT_S", 0.3)
    probes(answer, answer)
    nowhere("site")
    run_sync()
    assert states() == {"site": State.OFFLINE}


def test_sites_of_a_private_network_are_down_by_themselves_with_or_without_the_internet(
    add_site: AddSite, probes: Probes, run_sync: RunSync, website: Website
) -> None:
    """As with `make run` on a machine that has no internet."""
    probes(BAD, BAD)
    for number in range(4):
        add_site(f"site-{number}")
        website.pages[f"/site-{number}"] = BAD
    run_sync()
    assert set(states().values()) == {State.DOWN}
    assert not Incident.objects.filter(site=None).exists()
    assert asked(website) == 0


def test_nobody_is_asked_when_no_hosts_are_given(run_sync: RunSync) -> None:
    for number in range(4):
        nowhere(f"site-{number}")
    run_sync()
    assert set(states().values()) == {State.DOWN}


def test_answers_that_say_no_are_answers(
    add_site: AddSite, probes: Probes, run_sync: RunSync, website: Website
) -> None:
    probes(BAD, BAD)
    for number in range(4):
        add_site(f"site-{number}")
        website.pages[f"/site-{number}"] = http(status=503)
    run_sync()
    assert set(states().values()) == {State.DOWN}
    assert asked(website) == 0


# --- What an attempt says of the internet ---------------------------------------------------------


def internet_answered(url: str, outbound: Outbound) -> bool | None:
    site = MonitoredSite(pk=1, name="site", platform="uptime", options={"url": url})

    async def run() -> Attempt:
        return await attempt(site, outbound, timeout_s=5)

    return asyncio.run(run()).internet_answered


def test_an_unknown_name_is_silence_of_the_internet() -> None:
    assert internet_answered(NOBODY.format("name"), Outbound()) is False


def test_a_refused_address_asks_nobody() -> None:
    assert internet_answered("http://127.0.0.1/", Outbound()) is None


def test_an_allowed_private_address_is_not_the_internet(website: Website) -> None:
    assert internet_answered(website.url(), resolving_to()) is None


def test_an_address_of_the_internet_that_answers_has_answered(
    website: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loopback stands for a public address here; nothing of the product is replaced else."""
    monkeypatch.setattr(
        "sites.outbound.client.is_public", lambda address: address == IPv4Address("127.0.0.1")
    )
    assert internet_answered(website.url(), resolving_to()) is True
    website.pages["/broken"] = BAD
    assert internet_answered(website.url("/broken"), resolving_to()) is False
    website.pages["/away"] = http(status=302, headers={"Location": NOBODY.format("away")})
    assert internet_answered(website.url("/away"), resolving_to()) is True


# --- When it is suspicious ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("silent", "answering", "is_away"),
    [(1, 0, True), (2, 0, True), (2, 2, False), (1, 1, False), (3, 3, True), (3, 4, False)],
)
def test_at_least_half_and_three_or_all_of_the_sites_are_many(
    silent: int, answering: int, is_away: bool, probes: Probes, website: Website
) -> None:
    probes(BAD, BAD)
    sites = bare_sites(silent + answering + 4)
    store(
        *[made(site, answered=False) for site in sites[:silent]],
        *[made(site, answered=True) for site in sites[silent : silent + answering]],
        *[made(site, answered=None, state=State.UP) for site in sites[silent + answering :]],
    )
    assert (asked(website) > 0) == is_away
    assert Incident.objects.filter(site=None).exists() == is_away
    states = MonitoredSite.objects.filter(pk__in=[site.pk for site in sites[:silent]])
    assert set(states.values_list("state", flat=True)) == {State.OFFLINE if is_away else State.DOWN}
    assert MonitoredSite.objects.filter(state=State.UP).count() == answering + 4


def test_while_it_is_known_to_be_away_the_last_few_of_a_sync_are_not_taken_for_down(
    probes: Probes,
) -> None:
    probes(BAD, BAD)
    sites = bare_sites(6)
    store(*[made(site, answered=False) for site in sites[:4]])
    store(made(sites[4], answered=False), made(sites[5], answered=True))
    assert Incident.objects.get().site is None
    assert MonitoredSite.objects.get(name="4").state == State.OFFLINE


def test_a_sync_in_which_most_sites_answer_ends_it_even_if_the_known_good_hosts_stay_away(
    probes: Probes,
) -> None:
    probes(BAD, BAD)
    sites = bare_sites(4)
    store(*[made(site, answered=False) for site in sites])
    store(
        made(sites[0], answered=False, minute=14),
        made(sites[1], answered=True, minute=16),
        made(sites[2], answered=True, minute=15),
    )
    assert Incident.objects.get(site=None).closed_at == START + timedelta(minutes=15)
    assert MonitoredSite.objects.get(name="0").state == State.DOWN


def test_chunks_that_ask_nobody_outside_leave_it_to_the_known_good_hosts(probes: Probes) -> None:
    probes(BAD, BAD)
    sites = bare_sites(4)
    store(*[made(site, answered=False) for site in sites[:3]])
    store(made(sites[3], answered=None, state=State.UP))
    assert Incident.objects.get().closed_at is None
    probes(GOOD, BAD)
    store(made(sites[3], answered=None, state=State.UP))
    assert Incident.objects.get().closed_at is not None


def test_it_ends_when_no_site_is_watched_any_more(probes: Probes, run_sync: RunSync) -> None:
    probes(BAD, BAD)
    store(*[made(site, answered=False) for site in bare_sites(3)])
    MonitoredSite.objects.all().delete()
    run_sync()
    assert Incident.objects.get().closed_at is not None


@pytest.mark.django_db(transaction=True)
def test_processes_that_find_out_at_once_open_one_incident(probes: Probes) -> None:
    probes(BAD, BAD)
    sites = bare_sites(40)
    errors: list[Exception] = []

    def run(part: list[MonitoredSite]) -> None:
        try:
            for _ in range(3):
                store(*[made(site, answered=False) for site in part])
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    parts = [sites[begin : begin + 10] for begin in range(0, 40, 10)]
    threads = [threading.Thread(target=run, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Incident.objects.get().site is None
    assert IncidentEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_the_known_good_hosts_are_asked(
    probes: Probes, website: Website
) -> None:
    seen: list[Any] = []

    def look() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL"
                " AND datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            seen.append(cursor.fetchone())

    probes(during(look, status=500), BAD)
    store(*[made(site, answered=False) for site in bare_sites(3)])
    assert seen == [(0,)]
    assert Incident.objects.get().site is None
