import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as configured
from django_redis import get_redis_connection
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from sites import limits as limits_module
from sites.attempts import State, attempt
from sites.limits import BEGIN, Usage, begin, digest, end
from sites.models import MonitoredSite
from sites.outbound import Client, Outbound
from sites.platforms import PLATFORMS
from sites.platforms.base import FetchRequest, Health, Limits, Snapshot
from tests.qstash import PROJECT
from tests.sites import limited_fetches
from tests.sites.limited_fetches import ACCOUNT, LIMITS, Limited
from tests.sites.loopback import Request, http
from tests.sites.website import Website

#: Seconds that floats hold exactly, so that the two ways of counting agree to the millisecond.
STEP_S = 0.125

#: (seconds since the last one, which call to end or None to begin one)
events = st.tuples(
    st.integers(0, 120).map(lambda steps: steps * STEP_S) | st.just(60.0),
    st.none() | st.integers(0, 5),
)
limits_of_accounts = st.builds(Limits, concurrent=st.integers(1, 4), per_minute=st.integers(1, 6))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(limits_module, "_valkey_not_before", 0.0)
    monkeypatch.setattr(limits_module, "_own_usage", limits_module.OwnUsage())
    forget()
    yield
    forget()


def forget() -> None:
    valkey = get_redis_connection("default")
    if keys := list(valkey.scan_iter("soloboard:limits:*")):
        valkey.delete(*keys)


# --- The rules ------------------------------------------------------------------------------------


@given(limits_of_accounts, st.lists(events, max_size=60), st.integers(1, 40).map(float))
def test_no_minute_and_no_instant_ever_holds_more_than_the_limits(
    limits: Limits, happenings: list[tuple[float, int | None]], lease_s: float
) -> None:
    usage, now = Usage(), 0.0
    began: list[float] = []
    under_way: dict[str, float] = {}
    for number, (passed_s, ended) in enumerate(happenings):
        now += passed_s
        if ended is not None:
            usage.end(str(ended))
            under_way.pop(str(ended), None)
            continue
        under_way = {call: ends for call, ends in under_way.items() if ends > now}
        wait_s = usage.begin(limits, str(number), now, lease_s)
        recent = [moment for moment in began if moment > now - 60]
        if wait_s == 0:
            began.append(now)
            under_way[str(number)] = now + lease_s
            assert len(recent) < limits.per_minute
            assert len(under_way) <= limits.concurrent
        else:
            # It is refused only where it has to be, and told to come when the minute has room.
            assert len(recent) == limits.per_minute or len(under_way) == limits.concurrent
            if len(recent) == limits.per_minute:
                assert now + wait_s == recent[0] + 60


@given(limits_of_accounts, st.lists(events, max_size=40), st.integers(1, 40).map(float))
@hypothesis_settings(max_examples=50, deadline=None)
def test_valkey_decides_as_the_process_does(
    limits: Limits, happenings: list[tuple[float, int | None]], lease_s: float
) -> None:
    forget()
    valkey = get_redis_connection("default")
    script = valkey.register_script("local now = tonumber(ARGV[5])\n" + BEGIN)
    usage, now = Usage(), 1000.0
    for number, (passed_s, ended) in enumerate(happenings):
        now += passed_s
        if ended is not None:
            usage.end(str(ended))
            end("account", str(ended))
            continue
        told_ms = script(
            keys=limits_module._keys("account"),
            args=[
                limits.per_minute, limits.concurrent, str(number), int(lease_s * 1000), int(now * 1000),
            ],
        )  # fmt: skip
        assert told_ms / 1000 == usage.begin(limits, str(number), now, lease_s)


def test_a_limit_that_was_lowered_is_waited_for() -> None:
    usage = Usage()
    for number in range(4):
        assert usage.begin(Limits(concurrent=9, per_minute=4), str(number), number * 10.0, 1.0) == 0
    # Of those of 0, 10, 20 and 30 seconds, one may be left within the minute.
    assert usage.begin(Limits(concurrent=9, per_minute=2), "more", 40.0, 1.0) == 40.0


def test_the_place_of_a_process_that_died_becomes_free() -> None:
    one = Limits(concurrent=1, per_minute=1000)
    assert begin("account", one, "dead", 0.2) == 0
    assert begin("account", one, "waiting", 60) > 0
    while begin("account", one, "waiting", 60):
        time.sleep(0.02)
    assert begin("account", one, "next", 60) > 0
    end("account", "waiting")
    assert begin("account", one, "next", 60) == 0


def test_accounts_are_told_apart_by_platform_and_never_named() -> None:
    assert digest("stripe", "key") != digest("shopify", "key")
    begin(digest(Limited.key, ACCOUNT), LIMITS, "call", 60)
    valkey = get_redis_connection("default")
    keys = list(valkey.scan_iter("soloboard:limits:*"))
    assert len(keys) == 2
    assert all(valkey.pttl(key) > 0 for key in keys)
    assert ACCOUNT not in str(keys)


# --- A fetch --------------------------------------------------------------------------------------


def limited(
    monkeypatch: pytest.MonkeyPatch, url: str, limits: Limits, requests: int
) -> MonitoredSite:
    async def fetch(request: FetchRequest, client: Client) -> Snapshot:
        for _ in range(requests):
            await client.request("GET", url)
        return Snapshot(taken_at=request.now, health=Health.UP)

    platform = Limited(it=fetch)
    monkeypatch.setattr(Limited, "limits", limits)
    monkeypatch.setitem(PLATFORMS, Limited.key, platform)
    return MonitoredSite(pk=1, platform=Limited.key, options={"fetch": "it"})


def try_once(site: MonitoredSite, timeout_s: float) -> Any:
    async def run() -> Any:
        outbound = Outbound(allowed_networks=configured.ALLOWED_PRIVATE_NETWORKS)
        return await attempt(site, outbound, timeout_s=timeout_s)

    return asyncio.run(run())


def test_what_does_not_fit_into_the_time_of_a_fetch_is_put_off(
    monkeypatch: pytest.MonkeyPatch, website: Website
) -> None:
    site = limited(monkeypatch, website.url(), Limits(concurrent=5, per_minute=3), requests=4)
    made = try_once(site, timeout_s=10)
    assert len(website.requests) == 3
    assert made.state == State.UNAVAILABLE
    assert "no time left to wait" in made.reason
    assert 40 < made.retry_after_s <= 60
    # Nothing is wrong with the site or its platform, so this is no failure of theirs.
    assert (made.counts, made.failures) == (False, 0)
    assert made.not_before - made.made_at == timedelta(seconds=made.retry_after_s)


def test_requests_of_one_fetch_give_their_places_back(
    monkeypatch: pytest.MonkeyPatch, website: Website
) -> None:
    site = limited(monkeypatch, website.url(), Limits(concurrent=1, per_minute=100), requests=5)
    assert try_once(site, timeout_s=30).is_success
    website.pages["/"] = None  # Never answers.
    assert try_once(site, timeout_s=0.3).state == State.UNAVAILABLE
    assert begin(digest(Limited.key, ACCOUNT), LIMITS, "next", 60) == 0


def test_without_valkey_a_process_keeps_the_limits_for_itself_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
    website: Website,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": away}
    site = limited(monkeypatch, website.url(), Limits(concurrent=1, per_minute=3), requests=2)
    assert try_once(site, timeout_s=10).is_success
    assert try_once(site, timeout_s=10).state == State.UNAVAILABLE
    assert len(website.requests) == 3
    assert caplog.text.count("Valkey is away") == 1


# --- Two processes --------------------------------------------------------------------------------


class Busy:
    """How many requests there were, and the most at a time."""

    def __init__(self) -> None:
        self.all = self.most = self._now = 0

    async def page(self, request: Request) -> AsyncIterator[bytes]:
        self.all += 1
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0.05)
        self._now -= 1
        yield http("fine")


def test_two_processes_together_keep_to_the_limits(website: Website) -> None:
    busy = Busy()
    website.pages["/"] = busy.page
    processes = [start_fetches(website.url(), sites=20) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    states: Counter[str] = sum(map(Counter, map(json.loads, said)), Counter())
    # Forty fetches of two requests would make eighty. One that began may be cut off before it is sent.
    assert LIMITS.per_minute - 4 <= busy.all <= LIMITS.per_minute
    assert busy.most == LIMITS.concurrent
    assert sum(states.values()) == 40
    assert states["up"] <= LIMITS.per_minute // 2
    assert set(states) == {"up", "unavailable"}


def start_fetches(url: str, *, sites: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", limited_fetches.__name__, url, str(sites)],
        cwd=PROJECT,
        env={
            **os.environ,
            "REDIS_URL": configured.REDIS_URL,
            "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
            "DJANGO_SETTINGS_MODULE": "soloboard.settings",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
