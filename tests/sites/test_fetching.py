import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from sites import fetching
from sites.attempts import Attempt
from sites.fetching import Fetcher
from sites.models import MonitoredSite
from sites.outbound import Client
from sites.platforms.base import FetchRequest, Health, Snapshot
from tests.sites.loopback import http
from tests.sites.website import Website, after

AddScript = Callable[..., None]


def sites(count: int, fetch: str = "it") -> list[MonitoredSite]:
    return [
        MonitoredSite(pk=number, name=str(number), platform="scripted", options={"fetch": fetch})
        for number in range(count)
    ]


def in_seconds(seconds: float) -> float:
    return time.monotonic() + seconds


def up(request: FetchRequest) -> Snapshot:
    return Snapshot(taken_at=request.now, health=Health.UP)


async def at_once(request: FetchRequest, client: Client) -> Snapshot:
    return up(request)


def fetch_all(chosen: list[MonitoredSite], *, time_s: float = 60.0) -> list[Attempt]:
    with Fetcher(chosen, deadline=in_seconds(time_s)) as fetcher:
        return list(fetcher)


def test_every_site_is_fetched_once(script: AddScript) -> None:
    script(it=at_once)
    made = fetch_all(sites(350))
    assert sorted(attempt.site.pk for attempt in made) == list(range(350))


def test_no_sites_are_no_attempts() -> None:
    assert fetch_all([]) == []


def test_concurrency_is_used_and_never_exceeded(
    script: AddScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CONCURRENCY", 7)
    under_way, most = 0, 0

    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.002)
        under_way -= 1
        return up(request)

    script(it=fetch)
    assert len(fetch_all(sites(50))) == 50
    assert most == 7


def test_attempts_come_while_a_slow_site_is_still_under_way(script: AddScript) -> None:
    release = threading.Event()

    async def slow(request: FetchRequest, client: Client) -> Snapshot:
        await asyncio.get_running_loop().run_in_executor(None, release.wait)
        return up(request)

    script(it=at_once, slow=slow)
    chosen = [*sites(1, "slow"), *sites(20)]
    with Fetcher(chosen, deadline=in_seconds(60)) as fetcher:
        made = iter(fetcher)
        assert {next(made).site.options["fetch"] for _ in range(20)} == {"it"}
        release.set()
        assert [attempt.site.options["fetch"] for attempt in made] == ["slow"]


def test_a_slow_site_holds_up_nothing_but_its_own_place(
    website: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CONCURRENCY", 2)
    website.pages["/slow"] = after(0.3, http("late"))
    chosen = [
        MonitoredSite(pk=number, platform="uptime", options={"url": website.url(path)})
        for number, path in enumerate(["/slow", *["/quick"] * 10])
    ]
    made = fetch_all(chosen)
    assert [attempt.is_success for attempt in made] == [True] * 11
    assert made[-1].site.pk == 0


def test_near_the_deadline_nothing_is_started_and_all_ends_in_time(
    script: AddScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CONCURRENCY", 3)

    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        await asyncio.sleep(0.05)
        return up(request)

    script(it=fetch)
    deadline = in_seconds(0.6)
    with Fetcher(sites(1000), deadline=deadline) as fetcher:
        made = list(fetcher)
        assert time.monotonic() < deadline + 5
    # What was started was finished, in order, and the rest was not touched.
    assert 0 < len(made) < 1000
    assert sorted(attempt.site.pk for attempt in made) == list(range(len(made)))
    assert all(attempt.is_success for attempt in made)


def test_after_the_deadline_nothing_is_started(script: AddScript) -> None:
    script(it=at_once)
    assert fetch_all(sites(5), time_s=-1) == []


def test_leaving_early_ends_what_is_under_way(script: AddScript) -> None:
    ended = []

    async def hang(request: FetchRequest, client: Client) -> Snapshot:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(request)
        raise AssertionError

    script(it=at_once, hang=hang)
    before, started = threading.active_count(), time.monotonic()
    chosen = [*sites(3, "hang"), *sites(1)]
    with Fetcher(chosen, deadline=in_seconds(600)) as fetcher:
        assert next(iter(fetcher)).is_success
    assert time.monotonic() - started < fetching.FETCH_LIMIT_S / 2
    assert len(ended) == 3
    assert threading.active_count() == before


def test_a_fault_of_the_fetcher_itself_reaches_the_caller(
    script: AddScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fault(Exception):
        pass

    async def attempt(*args: Any, **kwargs: Any) -> Attempt:
        raise Fault

    monkeypatch.setattr(fetching, "attempt", attempt)
    with pytest.raises(ExceptionGroup) as caught:
        fetch_all(sites(3))
    assert caught.group_contains(Fault)
