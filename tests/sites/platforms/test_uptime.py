import asyncio
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from sites.platforms.base import Health, PlatformUnavailable, Snapshot
from sites.platforms.uptime import Options, StatusRules, Uptime
from tests.sites.loopback import Loopback, http, outbound, server_tls
from tests.sites.platforms.cases import NOW, PlatformCases


class TestUptime(PlatformCases):
    platform = Uptime()
    good = http("welcome to the shop")

    def typed(self, url: str) -> dict[str, Any]:
        return {"url": url}

    def reason(self, snapshot: Snapshot) -> str:
        """See that the site was measured as down, and return why."""
        assert snapshot.health is Health.DOWN
        return snapshot.reason

    def test_site_that_answers_as_expected_is_up(self) -> None:
        snapshot = self.fetch(self.good)
        assert (snapshot.health, snapshot.reason) == (Health.UP, "")
        assert snapshot.tls_expires_at is None

    def test_unexpected_status_is_down_and_measured(self) -> None:
        snapshot = self.fetch(http(status=503))
        assert self.reason(snapshot) == "answered 503 Service Unavailable; expected 200-399"
        assert snapshot.http_status == 503
        assert snapshot.latency_ms is not None

    def test_unknown_status_is_told_without_the_sites_own_words(self) -> None:
        assert self.reason(self.fetch(http(status=599))) == "answered 599; expected 200-399"

    def test_status_rules_are_the_owners(self) -> None:
        assert self.fetch(http(status=401), expected_status="401").health is Health.UP
        assert self.fetch(http(), expected_status="401").health is Health.DOWN

    def test_redirect_counts_by_where_it_ends_or_by_itself(self) -> None:
        moved = http(status=301, headers={"Location": "/gone"})

        def answers(request: Any) -> bytes:
            return http(status=404) if request.target == "/gone" else moved

        assert self.fetch(answers).http_status == 404
        alone = self.fetch(answers, follow_redirects=False, expected_status="301")
        assert (alone.http_status, alone.health) == (301, Health.UP)

    def test_head_is_sent_when_chosen(self) -> None:
        def answers(request: Any) -> bytes:
            assert request.method == "HEAD"
            return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"

        assert self.fetch(answers, method="HEAD").health is Health.UP

    def test_keyword_that_must_appear(self) -> None:
        assert self.fetch(self.good, keyword="the shop").health is Health.UP
        gone = self.fetch(self.good, keyword="The Shop")
        assert self.reason(gone) == "the page does not contain 'The Shop'"
        assert gone.http_status == 200

    def test_keyword_that_must_be_absent(self) -> None:
        must = "be absent"
        assert self.fetch(self.good, keyword="error", keyword_must=must).health is Health.UP
        there = self.fetch(self.good, keyword="shop", keyword_must=must)
        assert self.reason(there) == "the page contains 'shop'"

    def test_keyword_is_found_in_the_pages_own_charset(self) -> None:
        page = http(
            "Bücher".encode("latin-1"), headers={"Content-Type": "text/html; charset=latin-1"}
        )
        assert self.fetch(page, keyword="Bücher").health is Health.UP

    def test_keyword_behind_the_first_2_mb_says_so(self) -> None:
        late = self.fetch(http(b"x" * 2_000_000 + b"shop"), keyword="shop")
        assert self.reason(late) == "the page does not contain 'shop' in its first 2 MB"

    def test_latency_above_the_limit_is_slow(self) -> None:
        async def slowly(_: object) -> Any:
            await asyncio.sleep(0.02)
            yield http()

        snapshot = self.fetch(slowly, slow_after_ms=10)
        assert snapshot.health is Health.SLOW
        assert snapshot.reason == f"answered after {snapshot.latency_ms} ms; slow after 10 ms"

    def test_silence_is_down(self) -> None:
        async def run() -> Snapshot:
            async with Loopback(None) as server:
                options = {**self.options(server.url()), "timeout_s": 0.2}
                return await self.fetch_through(outbound(), options)

        snapshot = asyncio.run(run())
        assert "no complete answer within 0.2 s" in self.reason(snapshot)
        assert (snapshot.latency_ms, snapshot.http_status) == (None, None)

    def test_silence_is_not_the_sites_fault_when_the_sync_gave_it_too_little_time(self) -> None:
        with pytest.raises(PlatformUnavailable, match="the sync had no more time"):
            self.fetch(None, timeout_s=0.2)

    def test_refused_connection_is_down(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://shop.example:{free.getsockname()[1]}/"
        snapshot = self.fetch_resolving_to("127.0.0.1", url=url)
        assert self.reason(snapshot) == "shop.example refused the connection"

    def test_name_that_does_not_resolve_is_down(self) -> None:
        assert "shop.example has no address" in self.reason(self.fetch_resolving_to())

    def test_answer_that_is_not_http_is_down(self) -> None:
        assert "did not answer in HTTP" in self.reason(self.fetch(b"SSH-2.0-OpenSSH_9.2\r\n"))

    def fetch_tls(self, not_after: datetime) -> Snapshot:
        """Fetch over TLS with a certificate that ends then."""
        authority = trustme.CA()
        begin = not_after - timedelta(days=90)
        tls = server_tls(
            authority.issue_cert("shop.example", not_before=begin, not_after=not_after)
        )

        async def run() -> Snapshot:
            async with Loopback(self.good, tls) as server:
                options = self.options(server.url(host="shop.example"))
                return await self.fetch_through(outbound(authority), options)

        return asyncio.run(run())

    def test_certificate_end_is_measured_with_the_answer(self) -> None:
        end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=20)
        snapshot = self.fetch_tls(end)
        assert (snapshot.health, snapshot.tls_expires_at) == (Health.UP, end)
        assert snapshot.tls_days_left == (end - NOW).days

    def test_expired_certificate_is_down_and_dated(self) -> None:
        end = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)
        snapshot = self.fetch_tls(end)
        assert self.reason(snapshot) == (
            f"the TLS certificate of shop.example expired on {end:%Y-%m-%d}"
        )
        assert snapshot.tls_expires_at == end


def errors(**options: object) -> dict[str, list[str]]:
    form = Options(Uptime().options({"url": "https://shop.example/", **options}))
    return {name: [str(error) for error in errors] for name, errors in form.errors.items()}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": "ftp://shop.example/"}, "url"),
        ({"url": "https://user:made-up@shop.example/"}, "url"),
        ({"url": "https://shop example/"}, "url"),
        ({"url": "https://" + "a" * 2000}, "url"),
        ({"method": "DELETE"}, "method"),
        ({"expected_status": "ok"}, "expected_status"),
        ({"expected_status": ""}, "expected_status"),
        ({"expected_status": "200,"}, "expected_status"),
        ({"expected_status": "399-200"}, "expected_status"),
        ({"expected_status": "99"}, "expected_status"),
        ({"expected_status": "200-600"}, "expected_status"),
        ({"slow_after_ms": 0}, "slow_after_ms"),
        ({"timeout_s": 31}, "timeout_s"),
        ({"keyword": "shop", "method": "HEAD"}, "keyword"),
        ({"keyword_must": "maybe"}, "keyword_must"),
    ],
)
def test_option_that_cannot_work_is_refused(options: dict[str, Any], field: str) -> None:
    assert list(errors(**options)) == [field]


def test_refusal_says_what_to_write() -> None:
    assert errors(expected_status="2xx") == {
        "expected_status": ["'2xx' is not a status or a range of statuses; write 200 or 200-399"]
    }


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("shop.example", "https://shop.example"),
        ("http://nas:8080/", "http://nas:8080/"),
        (" https://Shop.Example/a ", "https://shop.example/a"),
    ],
)
def test_url_is_taken_as_people_type_it(typed: str, url: str) -> None:
    form = Options(Uptime().options({"url": typed}))
    assert form.is_valid(), form.errors
    assert form.cleaned_data["url"] == url


@given(st.lists(st.tuples(st.integers(100, 599), st.integers(100, 599)), min_size=1, max_size=4))
def test_status_rules_hold_exactly_what_they_name(ends: list[tuple[int, int]]) -> None:
    ranges = [(min(pair), max(pair)) for pair in ends]
    rules = StatusRules(", ".join(f"{first}-{last}" for first, last in ranges))
    named = {status for first, last in ranges for status in range(first, last + 1)}
    assert {status for status in range(100, 600) if status in rules} == named
