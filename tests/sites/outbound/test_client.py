import asyncio
import gzip
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address

import pytest

from sites.outbound import (
    Address,
    Answer,
    BrokenAnswer,
    Client,
    ConnectFailed,
    NameNotFound,
    Outbound,
    OutboundError,
    RequestRefused,
    TimedOut,
    parse_url,
)
from tests.sites.loopback import LOOPBACK, Answers, Loopback, Request, http, outbound, resolving_to

TIMEOUT_S = 10.0


def get(
    answers: Answers | bytes | None, path: str = "/", *, timeout_s: float = TIMEOUT_S, **how: object
) -> Answer:
    """Request a path of a server that gives these answers."""

    async def run() -> Answer:
        async with Loopback(answers) as server, outbound().client(timeout_s=timeout_s) as client:
            return await client.request("GET", server.url(path), **how)  # type: ignore[arg-type]

    return asyncio.run(run())


def test_answer_carries_status_headers_and_body_whatever_the_status() -> None:
    answer = get(http("gone", 410, {"X-Why": "moved out"}))
    assert (answer.status, answer.body, answer.headers["X-Why"]) == (410, b"gone", "moved out")
    assert answer.tls_expires_at is None
    assert 0 <= answer.latency_ms < TIMEOUT_S * 1000


def test_latency_ends_with_the_headers() -> None:
    async def slow_body(_: Request) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
        await asyncio.sleep(0.3)
        yield b"x"

    started = time.perf_counter()
    answer = get(slow_body)
    assert answer.body == b"x"
    assert answer.latency_ms <= (time.perf_counter() - started) * 1000 - 290


def test_text_follows_the_charset_and_never_fails() -> None:
    assert (
        get(
            http("é".encode("latin-1"), headers={"Content-Type": "text/html; charset=latin-1"})
        ).text
        == "é"
    )
    assert (
        get(http(b"\xff", headers={"Content-Type": "text/html; charset=no-such"})).text == "\ufffd"
    )


# Bodies


def test_body_is_decompressed() -> None:
    assert get(http(gzip.compress(b"hello"), headers={"Content-Encoding": "gzip"})).body == b"hello"


def test_body_is_cut_at_the_limit() -> None:
    answer = get(http(b"x" * 101), max_body_bytes=100)
    assert (len(answer.body), answer.truncated) == (100, True)
    answer = get(http(b"x" * 100), max_body_bytes=100)
    assert (len(answer.body), answer.truncated) == (100, False)


def test_compressed_body_is_cut_by_its_decompressed_size() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    answer = get(http(bomb, headers={"Content-Encoding": "gzip"}))
    assert (len(answer.body), answer.truncated) == (2_000_000, True)


def test_endless_body_is_cut_at_the_limit() -> None:
    answer = get(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000)
    assert (len(answer.body), answer.truncated) == (2_000_000, True)


def test_body_that_is_not_wanted_is_not_waited_for() -> None:
    unfinished = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this"
    assert get(unfinished, max_body_bytes=0).body == b""


@pytest.mark.parametrize("codings", ["gzip, gzip", "gzip, gzip, gzip, gzip, gzip, gzip"])
def test_body_compressed_more_than_once_is_refused(codings: str) -> None:
    with pytest.raises(BrokenAnswer, match="compressed more than once"):
        get(http(b"x", headers={"Content-Encoding": codings}))


def test_body_that_does_not_decompress_is_refused() -> None:
    with pytest.raises(BrokenAnswer, match="cannot be decompressed"):
        get(http(b"not gzip", headers={"Content-Encoding": "gzip"}))


# Faults of the host


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000],
    ids=["closed without an answer", "another protocol", "endless header"],
)
def test_answer_that_is_not_http_is_refused(answer: bytes) -> None:
    with pytest.raises(BrokenAnswer, match=r"127\.0\.0\.1 broke the connection off or did not"):
        get(answer)


def test_body_that_breaks_off_is_refused() -> None:
    with pytest.raises(BrokenAnswer, match="while reading its answer"):
        get(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")


def test_silent_host_times_out_and_the_error_says_in_which_stage() -> None:
    with pytest.raises(TimedOut, match=r"within 0\.2 s \(stopped while waiting for its answer\)"):
        get(None, timeout_s=0.2)


def test_silent_dns_times_out_and_the_error_says_in_which_stage() -> None:
    async def never(host: str, port: int) -> list[Address]:
        await asyncio.Event().wait()
        return []

    async def run() -> None:
        async with Outbound(resolve=never).client(timeout_s=TIMEOUT_S) as client:
            await client.request("GET", "http://shop.example/", timeout_s=0.05)

    with pytest.raises(TimedOut, match=r"shop\.example .* looking up its name"):
        asyncio.run(run())


def test_host_that_drips_cannot_outlast_the_deadline() -> None:
    async def drip(_: Request) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while True:
            yield b"x"
            await asyncio.sleep(0.02)

    with pytest.raises(TimedOut, match="reading its answer"):
        get(drip, timeout_s=0.3)


def test_requests_of_a_client_share_its_deadline() -> None:
    async def run() -> None:
        async with Loopback(None) as server, outbound().client(timeout_s=0.2) as client:
            for _ in range(2):
                with pytest.raises(TimedOut):
                    await client.request("GET", server.url(), timeout_s=60)

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_refused_connection_says_so() -> None:
    async def run() -> None:
        async with outbound().client(timeout_s=TIMEOUT_S) as client:
            await client.request("GET", f"http://shop.example:{closed_port()}/")

    with pytest.raises(ConnectFailed, match=r"shop\.example refused the connection"):
        asyncio.run(run())


def test_next_address_is_tried_when_one_refuses() -> None:
    async def run() -> Answer:
        async with Loopback(http("here")) as server:
            way_out = resolving_to("127.0.0.2", "127.0.0.1")
            async with way_out.client(timeout_s=TIMEOUT_S) as client:
                return await client.request("GET", server.url(host="shop.example"))

    assert asyncio.run(run()).body == b"here"


def test_name_without_addresses_is_not_found() -> None:
    async def run() -> None:
        async with resolving_to().client(timeout_s=TIMEOUT_S) as client:
            await client.request("GET", "http://shop.example/")

    with pytest.raises(NameNotFound, match=r"shop\.example has no address"):
        asyncio.run(run())


def test_name_is_looked_up_once_so_that_a_second_answer_cannot_lead_elsewhere() -> None:
    lookups = []

    async def rebinding(host: str, port: int) -> list[Address]:
        lookups.append(host)
        return [ip_address("127.0.0.1" if len(lookups) == 1 else "169.254.169.254")]

    async def run() -> Answer:
        way_out = Outbound(allowed_networks=[LOOPBACK], resolve=rebinding)
        async with Loopback(http("here")) as server, way_out.client(timeout_s=TIMEOUT_S) as client:
            return await client.request("GET", server.url(host="shop.example"))

    assert asyncio.run(run()).body == b"here"
    assert lookups == ["shop.example"]


def test_host_header_is_the_name_not_the_address() -> None:
    async def run() -> Request:
        async with Loopback(http()) as server, outbound().client(timeout_s=TIMEOUT_S) as client:
            await client.request("GET", server.url("/a?b=c", host="shop.example"))
            assert server.requests[0].headers["host"] == f"shop.example:{server.port}"
            return server.requests[0]

    assert asyncio.run(run()).target == "/a?b=c"


# Requests that are not made


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://shop.example/", "only http"),
        ("file:///etc/passwd", "only http"),
        ("//shop.example/", "only http"),
        ("shop.example", "only http"),
        ("http://user:made-up@shop.example/", "user name or password"),
        ("http://user@shop.example/", "user name or password"),
        ("http:///path", "no valid host name"),
        ("http://shop example/", "no valid host name"),
        ("http://shop.example:0/", "port 0"),
        ("http://shop.example:99999/", "port 99999"),
        ("http://[::1", "not a valid URL"),
        ("http://shop.example/\x00", "not a valid URL"),
        ("", "only http"),
    ],
)
def test_url_that_cannot_be_requested_is_refused(url: str, why: str) -> None:
    with pytest.raises(RequestRefused, match=why):
        parse_url(url)


def test_url_is_normalised() -> None:
    assert str(parse_url("HTTP://Bücher.Example/a b")) == "http://xn--bcher-kva.example/a%20b"


@pytest.mark.parametrize("value", ["made-up\r\nX-Injected: 1", "made-up\x00"])
def test_header_that_would_break_out_is_refused_without_being_quoted(value: str) -> None:
    with pytest.raises(RequestRefused, match="enter the header or the credential again") as caught:
        get(http(), headers={"X-Api-Key": value})
    assert "made-up" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_header_that_is_not_ascii_is_sent_as_utf_8() -> None:
    assert get(http("fine"), headers={"X-Api-Key": "ключ"}).body == b"fine"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{closed_port()}")
    assert get(http("direct")).body == b"direct"


def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    get(http(), "/?key=made-up-key", headers={"Authorization": "Bearer made-up-token"})
    assert "made-up" not in caplog.text


# Redirects


def redirect(location: str, status: int = 302) -> bytes:
    return http(status=status, headers={"Location": location})


def through(*, method: str = "GET", headers: dict[str, str] | None = None) -> Callable[..., Answer]:
    def run(answers: Answers, path: str = "/") -> Answer:
        async def request() -> Answer:
            async with Loopback(answers) as server, outbound().client(timeout_s=5) as client:
                return await client.request(method, server.url(path), headers=headers)

        return asyncio.run(request())

    return run


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_followed(status: int) -> None:
    def answers(request: Request) -> bytes:
        return http("end") if request.target == "/end" else redirect("end", status)

    answer = through()(answers, "/start")
    assert (answer.status, answer.body, answer.url.path) == (200, b"end", "/end")


def test_redirect_can_be_left_alone() -> None:
    assert get(redirect("/end"), follow_redirects=False).status == 302


def test_post_is_never_redirected() -> None:
    assert through(method="POST")(lambda _: redirect("/end", 308)).status == 308


@pytest.mark.parametrize(("redirects", "arrives"), [(5, True), (6, False)])
def test_five_redirects_are_followed_and_no_more(redirects: int, *, arrives: bool) -> None:
    def answers(request: Request) -> bytes:
        step = int(request.target[1:])
        return http("end") if step == redirects else redirect(f"/{step + 1}")

    if arrives:
        assert through()(answers, "/0").body == b"end"
    else:
        with pytest.raises(BrokenAnswer, match="redirected more than 5 times"):
            through()(answers, "/0")


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://10.0.0.1/", "is a private address"),
        ("http://169.254.169.254/latest/meta-data/", "is a link-local address"),
        ("http://[::ffff:10.0.0.1]/", "is a private address"),
        ("//10.0.0.1/", "is a private address"),
        ("http://93.184.216.34:6379/", "port 6379"),
        ("file:///etc/passwd", "only http"),
        ("gopher://10.0.0.1/", "only http"),
        ("http://user:made-up@shop.example/", "user name or password"),
        ("http://[", "no valid host name"),
    ],
)
def test_every_hop_is_held_to_the_rules(location: str, why: str) -> None:
    with pytest.raises(RequestRefused, match=rf"127\.0\.0\.1 redirects .*{why}"):
        get(redirect(location))


def received_after_redirect(target: str) -> tuple[Request, Request]:
    """Send a key to one address, be redirected to `target` (with {port}), and see both requests."""

    async def run() -> tuple[Request, Request]:
        async with Loopback(http()) as other:

            def answers(request: Request) -> bytes:
                location = target.format(port=server.port, other=other.port)
                return http() if request.target == "/end" else redirect(location)

            async with Loopback(answers) as server, outbound().client(timeout_s=5) as client:
                url = server.url(host="shop.example")
                await client.request("GET", url, headers={"X-Api-Key": "made-up"})
                first, second = [*server.requests, *other.requests]
                return first, second

    return asyncio.run(run())


def test_headers_go_on_to_the_same_origin() -> None:
    first, second = received_after_redirect("http://shop.example:{port}/end")
    assert first.headers["x-api-key"] == second.headers["x-api-key"] == "made-up"


@pytest.mark.parametrize(
    "target", ["http://shop.example:{other}/", "http://cdn.example:{port}/end"]
)
def test_headers_are_not_sent_on_to_another_port_or_host(target: str) -> None:
    first, second = received_after_redirect(target)
    assert first.headers["x-api-key"] == "made-up"
    assert "x-api-key" not in second.headers


# Connections


def test_cookies_are_not_kept() -> None:
    async def run() -> list[Request]:
        answer = http(headers={"Set-Cookie": "session=made-up; Path=/"})
        async with Loopback(answer) as server, outbound().client(timeout_s=5) as client:
            await client.request("GET", server.url())
            await client.request("GET", server.url())
            return server.requests

    assert ["cookie" in request.headers for request in asyncio.run(run())] == [False, False]


def test_connection_is_kept_within_a_client_and_not_between_two() -> None:
    async def run() -> int:
        async def twice(client: Client) -> None:
            async with client:
                await client.request("GET", server.url())
                await client.request("GET", server.url())

        async with Loopback(http("ok")) as server:
            way_out = outbound()
            await twice(way_out.client(timeout_s=5))
            await twice(way_out.client(timeout_s=5))
            return server.connections

    assert asyncio.run(run()) == 2


def test_every_error_is_of_the_one_family() -> None:
    family = {RequestRefused, NameNotFound, ConnectFailed, TimedOut, BrokenAnswer}
    assert all(issubclass(error, OutboundError) for error in family)
