import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from sites.outbound import Answer, CertificateRefused, ConnectFailed
from tests.sites.loopback import Loopback, http, outbound, server_tls

NOW = datetime.now(UTC).replace(microsecond=0)


def get(
    certificate: trustme.LeafCert, trusted: trustme.CA | None, host: str = "shop.example"
) -> Answer:
    async def run() -> Answer:
        async with (
            Loopback(http("secure"), server_tls(certificate)) as server,
            outbound(trusted).client(timeout_s=10) as client,
        ):
            return await client.request("GET", server.url(host=host))

    return asyncio.run(run())


def test_certificate_end_comes_from_the_connection_of_the_answer(authority: trustme.CA) -> None:
    end = NOW + timedelta(days=20)
    certificate = authority.issue_cert("shop.example", not_after=end)
    assert get(certificate, authority).tls_expires_at == end


def test_certificate_is_checked_against_an_address_as_well(authority: trustme.CA) -> None:
    assert get(authority.issue_cert("127.0.0.1"), authority, host="127.0.0.1").body == b"secure"


def test_expired_certificate_is_refused_with_the_day_it_ended(authority: trustme.CA) -> None:
    begin, end = NOW - timedelta(days=90), NOW - timedelta(days=3)
    certificate = authority.issue_cert("shop.example", not_before=begin, not_after=end)
    with pytest.raises(
        CertificateRefused, match=rf"certificate of shop\.example expired on {end:%Y-%m-%d}"
    ) as caught:
        get(certificate, authority)
    assert caught.value.expires_at == end


def test_certificate_of_an_unknown_authority_is_refused_and_still_dated() -> None:
    end = NOW + timedelta(days=20)
    certificate = trustme.CA().issue_cert("shop.example", not_after=end)
    with pytest.raises(CertificateRefused, match=r"of shop\.example is not accepted") as caught:
        get(certificate, trusted=None)
    assert caught.value.expires_at == end


def test_certificate_for_another_name_is_refused(authority: trustme.CA) -> None:
    with pytest.raises(CertificateRefused, match=r"[Hh]ostname mismatch"):
        get(authority.issue_cert("other.example"), authority)


def test_host_is_named_in_the_handshake(authority: trustme.CA) -> None:
    """A server with several names could not pick its certificate otherwise."""
    named = []

    async def run() -> None:
        context = server_tls(authority.issue_cert("shop.example"))
        context.sni_callback = lambda _, name, __: named.append(name)
        async with (
            Loopback(http(), context) as server,
            outbound(authority).client(timeout_s=10) as client,
        ):
            await client.request("GET", server.url(host="shop.example"))

    asyncio.run(run())
    assert named == ["shop.example"]


def test_https_to_a_port_that_speaks_plain_http_says_so() -> None:
    left = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    async def run() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with outbound().client(timeout_s=10) as client:
                with pytest.raises(ConnectFailed, match="does not speak TLS"):
                    await client.request("GET", f"https://127.0.0.1:{port}/")
            await left.wait()

    asyncio.run(run())


def sent_twice(answer: bytes | None, method: str = "GET") -> tuple[list[bytes], int]:
    """Send a request two times with one client; return the bodies and the number of connections."""

    async def run() -> tuple[list[bytes], int]:
        async with Loopback(answer) as server, outbound().client(timeout_s=10) as client:
            bodies = [(await client.request(method, server.url())).body for _ in range(2)]
            return bodies, server.connections

    return asyncio.run(run())


def test_a_connection_that_the_host_keeps_is_used_again() -> None:
    assert sent_twice(http("fine")) == ([b"fine", b"fine"], 1)


@pytest.mark.parametrize(
    "answer",
    [
        http("fine", headers={"Connection": "close"}),
        b"HTTP/1.0 200 OK\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
    ],
    ids=["announced", "old protocol", "unannounced"],
)
def test_a_connection_that_the_host_closes_is_replaced(answer: bytes) -> None:
    assert sent_twice(answer) == ([b"fine", b"fine"], 2)


def test_an_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    assert sent_twice(b"HTTP/1.1 200 Whole\r\nContent-Length: 4\r\n\r\n", "HEAD") == ([b"", b""], 1)


def test_informational_answers_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    assert sent_twice(early + http("fine"))[0] == [b"fine", b"fine"]


def test_a_body_in_chunks_is_put_together() -> None:
    chunks = (
        b"HTTP/1.1 200 Whole\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n"
    )
    assert sent_twice(chunks) == ([b"fine", b"fine"], 1)


@pytest.mark.parametrize(("content", "length"), [(b"{}", "2"), (b"", "0")])
def test_a_post_says_how_long_it_is(content: bytes, length: str) -> None:
    async def run() -> None:
        async with Loopback(http()) as server, outbound().client(timeout_s=10) as client:
            await client.request("POST", server.url(), content=content)
            assert server.requests[0].headers["content-length"] == length
            assert server.requests[0].body == content

    asyncio.run(run())


def test_two_requests_at_once_do_not_share_a_connection() -> None:
    async def run() -> int:
        async with Loopback(http("fine")) as server, outbound().client(timeout_s=10) as client:
            answers = await asyncio.gather(*(client.request("GET", server.url()) for _ in range(3)))
            assert [answer.body for answer in answers] == [b"fine"] * 3
            return server.connections

    assert asyncio.run(run()) == 3
