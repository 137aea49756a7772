"""Which destinations are let through, and when a host counts as not existing."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qstash_server import firewall
from qstash_server.clock import ManualClock
from qstash_server.errors import BadRequest, StartError
from qstash_server.firewall import Firewall, SystemLookup
from qstash_server.settings import Settings
from tests.qstash_server.running import LoopThread, Reply, Running, Sink, settings

ELSEWHERE = "http://elsewhere.example/x"
REFUSED = "elsewhere.example is not on this server's list of destinations"


async def everything_exists(host: str) -> bool:
    return True


def allows(url: str, *allowed: str) -> bool:
    return Firewall(allowed=allowed, lookup=everything_exists).allows(url)


# The list


def test_no_list_allows_all() -> None:
    assert allows("http://anything.example:1/x")


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        ("http://a.example/x", "a.example"),
        ("https://a.example:8443/x?y#z", "a.example"),
        ("http://A.Example/x", "a.example"),
        ("http://a.example/x", "A.EXAMPLE"),
        ("http://user:pass@a.example/x", "a.example"),
        ("http://a.example/x", "a.example:80"),
        ("https://a.example/x", "a.example:443"),
        ("http://a.example:8000/x", "a.example:8000"),
        ("http://b.a.example/x", "*.a.example"),
        ("http://c.b.a.example:8000/x", "*.a.example"),
        ("http://B.A.example/x", "*.A.EXAMPLE"),
        ("http://b.a.example:8000/x", "*.a.example:8000"),
        ("https://b.a.example/x", "*.a.example:443"),
        ("http://127.0.0.1:8000/x", "127.0.0.1"),
        ("http://127.0.0.1:8000/x", "127.0.0.1:8000"),
        ("http://[::1]:8000/x", "[::1]"),
        ("http://[::1]:8000/x", "[::1]:8000"),
        ("http://[::1]/x", "[::1]:80"),
        ("http://[2001:DB8::1]/x", "[2001:db8::1]"),
    ],
)
def test_pattern_lets_its_host_through(url: str, pattern: str) -> None:
    assert allows(url, pattern)
    assert allows(url, "other.example", pattern)


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        ("http://b.example/x", "a.example"),
        ("http://b.a.example/x", "a.example"),
        ("http://a.example.evil.example/x", "a.example"),
        ("http://xa.example/x", "a.example"),
        ("http://a.example@evil.example/x", "a.example"),
        ("http://a.example:80@evil.example/x", "a.example:80"),
        ("http://evil.example/a.example", "a.example"),
        ("http://evil.example/@a.example", "a.example"),
        ("http://evil.example?@a.example", "a.example"),
        ("http://evil.example#@a.example", "a.example"),
        ("http://a.example:8000/x", "a.example:80"),
        ("https://a.example/x", "a.example:80"),
        ("http://a.example/x", "a.example:443"),
        ("http://a.example:0/x", "a.example:80"),
        ("http://a.example/x", "*.a.example"),
        ("http://xa.example/x", "*.a.example"),
        ("http://b.a.example.evil.example/x", "*.a.example"),
        ("http://b.a.example@evil.example/x", "*.a.example"),
        ("http://b.a.example:81/x", "*.a.example:8000"),
        ("http://127.0.0.2:8000/x", "127.0.0.1:8000"),
        ("http://127.1:8000/x", "127.0.0.1"),
        ("http://2130706433/x", "127.0.0.1"),
        ("http://localhost/x", "127.0.0.1"),
        ("http://[::1]/x", "[::2]"),
        ("http://[::ffff:127.0.0.1]/x", "127.0.0.1"),
        ("http://[::1]:1/x", "[::1]:80"),
    ],
)
def test_pattern_lets_nothing_else_through(url: str, pattern: str) -> None:
    assert not allows(url, pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        " ",
        "*",
        "http://a.example",
        "a.example/x",
        "a.*.example",
        "a.example:",
        "::1",
        "ü.example",
    ],
)
def test_pattern_that_could_match_nothing_is_refused_at_the_start(pattern: str) -> None:
    with pytest.raises(StartError, match="destination"):
        Settings(state=Path("state"), destinations=("a.example", pattern)).check()


@pytest.mark.parametrize(
    "pattern", ["a.example", "*.A.example:80", "127.0.0.1:8000", "[::1]", "[::1]:80", "xn--a_b.c-d"]
)
def test_pattern_of_every_kind_is_accepted_at_the_start(pattern: str) -> None:
    Settings(state=Path("state"), destinations=(pattern,)).check()


# Where the list holds


@pytest.fixture
def listed(loop: LoopThread, state: Path, clock: ManualClock, sink: Sink) -> Iterator[Running]:
    """A server that may call the sink alone."""
    allowed = (sink.url.removeprefix("http://"),)
    with Running(loop, settings(state, destinations=allowed), clock) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"/v2/publish/{ELSEWHERE}", {}),
        (f"/v2/enqueue/q/{ELSEWHERE}", {}),
        ("/v2/publish/http://{sink}@elsewhere.example/x", {}),
        ("/v2/publish/{ok}", {"Upstash-Callback": ELSEWHERE}),
        ("/v2/publish/{ok}", {"Upstash-Failure-Callback": ELSEWHERE}),
        (f"/v2/schedules/{ELSEWHERE}", {"Upstash-Cron": "@daily"}),
        ("/v2/schedules/{ok}", {"Upstash-Cron": "@daily", "Upstash-Callback": ELSEWHERE}),
        ("/v2/schedules/{ok}", {"Upstash-Cron": "@daily", "Upstash-Failure-Callback": ELSEWHERE}),
    ],
)
def test_what_is_not_listed_is_refused_when_it_is_asked_for(
    listed: Running, sink: Sink, path: str, headers: dict[str, str]
) -> None:
    path = path.format(ok=sink.url + "/ok", sink=sink.url.removeprefix("http://"))
    answer = listed.request("POST", path, "x", headers)
    assert answer.status == 400
    assert REFUSED in answer.json["error"]
    assert listed.sdk.message.cancel_all() == 0
    assert listed.sdk.schedule.list() == []


def test_batch_refuses_the_item_alone(listed: Running, sink: Sink) -> None:
    items = [
        {"destination": ELSEWHERE},
        {"destination": sink.url + "/ok", "headers": {"Upstash-Callback": ELSEWHERE}},
        {"destination": sink.url + "/ok"},
    ]
    answer = listed.request("POST", "/v2/batch", json.dumps(items)).json
    assert [REFUSED in item.get("error", "") for item in answer] == [True, True, False]
    listed.settle()
    assert [d.target for d in sink.deliveries] == ["/ok"]


def test_group_takes_no_endpoint_and_no_default_that_is_not_listed(
    listed: Running, sink: Sink
) -> None:
    def change(method: str, path: str, body: object) -> tuple[int, str]:
        answer = listed.request(method, path, json.dumps(body))
        return answer.status, answer.text

    two = {"endpoints": [{"url": sink.url + "/ok"}, {"url": ELSEWHERE}]}
    status, text = change("POST", "/v2/topics/g/endpoints", two)
    assert status == 400
    assert REFUSED in text
    assert listed.sdk.url_group.list() == []
    listed.sdk.url_group.upsert_endpoints("g", [{"url": sink.url + "/ok"}])
    for name in ("Upstash-Callback", "Upstash-Failure-Callback"):
        status, text = change("PATCH", "/v2/topics/g", {"headers": {name: ELSEWHERE}})
        assert status == 400
        assert REFUSED in text


def test_retry_of_a_dead_letter_takes_no_callback_that_is_not_listed(
    listed: Running, sink: Sink
) -> None:
    listed.publish(sink.reply("/bad", Reply(status=500)), retries=0)
    listed.settle()
    [entry] = listed.sdk.dlq.list().messages
    for path in (f"/v2/dlq/retry/{entry.dlq_id}", "/v2/dlq/retry"):
        answer = listed.request("POST", path, headers={"Upstash-Callback": ELSEWHERE})
        assert answer.status == 400
        assert REFUSED in answer.json["error"]
    assert len(listed.sdk.dlq.list().messages) == 1


def test_list_holds_at_delivery_for_what_was_accepted_under_another_one(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    with Running(loop, settings(state), clock) as server:
        server.publish(sink.url + "/x", delay=60, retries=0, callback=sink.url + "/callback")
        server.sdk.url_group.upsert_endpoints("g", [{"url": sink.url + "/group"}])
        server.sdk.schedule.create(destination="g", cron="* * * * *", retries=0)
        server.sdk.schedule.create(destination=sink.url + "/tick", cron="* * * * *", retries=0)
    with Running(loop, settings(state, destinations=("a.example",)), clock) as server:
        server.advance(60)
        entries = server.request("GET", "/v2/dlq").json["messages"]
        refused = sorted(e["url"].removeprefix(sink.url) for e in entries)
        assert refused == ["/callback", "/group", "/tick", "/x"]
        assert {e["responseStatus"] for e in entries} == {0}
        assert {e["error"] for e in entries} == {"not on this server's list of destinations"}
        answer = server.request("POST", "/v2/publish/g")
        assert answer.status == 400
    assert sink.deliveries == []


# Whether the host exists


class Resolver:
    """Stands in for getaddrinfo. answers: an exception for a host, which is found otherwise."""

    def __init__(self, **answers: Exception) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: str, port: object, **_: object) -> list[object]:
        self.asked.append(host)
        error = self.answers.get(host.replace(".", "_"), self.answers.get("all"))
        if error is not None:
            raise error
        return []


NOT_FOUND = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def exists(
    monkeypatch: pytest.MonkeyPatch, resolver: Callable[..., Any], *hosts: str
) -> list[bool]:
    """Return what a lookup that is new says of the hosts, one after the other."""

    async def scene() -> list[bool]:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver)
        lookup = SystemLookup()
        return [await lookup(host) for host in hosts]

    return asyncio.run(scene())


def test_known_host_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exists(monkeypatch, Resolver(), "a.example") == [True]


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_NODATA])
def test_unknown_host_does_not_exist_while_the_machine_is_online(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    resolver = Resolver(a_example=socket.gaierror(code, "unknown"))
    assert exists(monkeypatch, resolver, "a.example", "b.example") == [False, True]


def test_offline_machine_takes_every_host_but_the_reserved_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = ("a.example", "x.invalid", "x.invalid.", "invalid")
    resolver = Resolver(all=NOT_FOUND)
    assert exists(monkeypatch, resolver, *hosts) == [True, False, False, False]
    assert "x.invalid" not in resolver.asked


def test_no_lookup_for_addresses_and_the_host_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver(all=NOT_FOUND)
    hosts = ("127.0.0.1", "10.0.0.1", "::1", "fe80::1%eth0", "localhost")
    assert exists(monkeypatch, resolver, *hosts) == [True] * 5
    assert resolver.asked == []


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"),
        OSError("no sockets left"),
        UnicodeError("label too long"),
    ],
)
def test_broken_resolver_denies_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    assert exists(monkeypatch, Resolver(a_example=error), "a.example") == [True]


def test_slow_resolver_denies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(host: str, port: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(firewall, "_TIMEOUT_S", 0.02)
    assert exists(monkeypatch, never, "a.example") == [True]


def test_answer_is_remembered_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(firewall, "time", SimpleNamespace(monotonic=lambda: now_s))
    resolver = Resolver(gone_example=NOT_FOUND)

    async def scene() -> None:
        nonlocal now_s
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver)
        lookup = SystemLookup()
        for _ in range(3):
            assert await lookup("a.example")
            assert not await lookup("gone.example")
        assert resolver.asked == ["a.example", "gone.example", "qstash.upstash.io"]
        now_s += 59
        assert not await lookup("gone.example")
        assert len(resolver.asked) == 3
        now_s += 2
        resolver.answers.clear()
        assert await lookup("gone.example")
        assert resolver.asked[3:] == ["gone.example"]

    asyncio.run(scene())


def test_memory_of_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall, "_MOST_REMEMBERED", 3)

    async def scene() -> int:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", Resolver())
        lookup = SystemLookup()
        for n in range(20):
            await lookup(f"{n}.example")
        return len(lookup._known)

    assert asyncio.run(scene()) <= 3


def test_existing_host_is_not_looked_up_with_user_port_or_path() -> None:
    asked: list[str] = []

    async def lookup(host: str) -> bool:
        asked.append(host)
        return False

    wall = Firewall(allowed=(), lookup=lookup)
    with pytest.raises(BadRequest, match=r"unable to resolve host: a\.example$"):
        asyncio.run(wall.check_exists("http://user:pass@A.example:8000/x?y"))
    assert asked == ["a.example"]


def test_schedule_may_name_a_host_that_does_not_exist_yet(server: Running) -> None:
    server.sdk.schedule.create(destination="http://soon.invalid", cron="@daily", schedule_id="s")
    assert server.sdk.schedule.get("s").destination == "http://soon.invalid"
