"""Cases that every platform inherits, so that each is held to the same promises."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest

from sites.outbound import Outbound
from sites.platforms import PLATFORMS
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    Platform,
    PlatformError,
    PlatformUnavailable,
    Snapshot,
)
from tests.sites.loopback import Answers, Loopback, http, outbound, resolving_to

NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
TIMEOUT_S = 10.0
SECRET = "made-up-secret"


class PlatformCases(ABC):
    """Set `platform`, say how a site is set up at a URL, and give a good answer."""

    platform: ClassVar[Platform]
    credentials: ClassVar[Mapping[str, str]] = {}
    good: ClassVar[bytes]

    @abstractmethod
    def typed(self, url: str) -> dict[str, Any]:
        """Return what an owner would enter for a site at this URL; the rest takes defaults."""

    def options(self, url: str, **changes: object) -> dict[str, Any]:
        """Return the cleaned options for a site at this URL."""
        form = self.platform.Options(self.platform.options({**self.typed(url), **changes}))
        assert form.is_valid(), form.errors
        return form.cleaned_data

    def fetch(
        self,
        answers: Answers | bytes | None,
        *,
        path: str = "/",
        host: str = "shop.example",
        timeout_s: float = TIMEOUT_S,
        **changes: Any,
    ) -> Snapshot:
        """Fetch a site whose host gives these answers."""

        async def run() -> Snapshot:
            async with Loopback(answers) as server:
                options = self.options(server.url(path, host), **changes)
                return await self.fetch_through(outbound(), options, timeout_s=timeout_s)

        return asyncio.run(run())

    def fetch_resolving_to(self, *addresses: str, url: str = "http://shop.example/") -> Snapshot:
        """Fetch a site whose name resolves to these addresses."""

        return asyncio.run(self.fetch_through(resolving_to(*addresses), self.options(url)))

    async def fetch_through(
        self, way_out: Outbound, options: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
    ) -> Snapshot:
        """Give a site with these options its turn."""
        request = FetchRequest(
            options=options, credentials=self.credentials, time_zone=ZoneInfo("UTC"), now=NOW
        )
        async with way_out.client(timeout_s=timeout_s) as client:
            return await self.platform.fetch(request, client)

    def test_it_is_registered_under_its_key(self) -> None:
        assert type(PLATFORMS[self.platform.key]) is type(self.platform)

    def test_cleaned_options_survive_being_stored_as_json(self) -> None:
        options = self.options("https://shop.example/")
        stored = json.loads(json.dumps(options))
        again = self.platform.Options(self.platform.options(stored))
        assert again.is_valid(), again.errors
        assert again.cleaned_data == stored == options

    def test_secrets_are_never_rendered_nor_shown_by_repr(self) -> None:
        stored = dict.fromkeys(self.platform.Credentials.base_fields, SECRET)
        assert SECRET not in repr(
            FetchRequest(options={}, credentials=stored, time_zone=ZoneInfo("UTC"), now=NOW)
        )

    def test_good_answer_becomes_a_snapshot_that_json_can_hold(self) -> None:
        snapshot = self.fetch(self.good)
        stored = json.loads(json.dumps(snapshot.to_json(), allow_nan=False))
        assert stored["updatedAt"] == "2026-02-07T10:30:00.000Z"
        assert stored["health"] == "up"
        assert stored["http_status"] == 200
        assert stored["latency_ms"] == snapshot.latency_ms is not None

    def test_private_address_is_the_owners_to_mend(self) -> None:
        with pytest.raises(ConfigurationRefused, match="ALLOWED_PRIVATE_NETWORKS"):
            self.fetch_resolving_to("10.0.0.7")

    def test_redirect_to_a_private_address_is_not_followed(self) -> None:
        with pytest.raises(ConfigurationRefused):
            self.fetch(http(status=302, headers={"Location": "http://10.0.0.7/"}))


class JsonApiCases(PlatformCases):
    """Cases of platforms that ask a JSON API: what is wrong becomes the right error."""

    def refusal(self, answers: Answers | bytes | None, **how: Any) -> PlatformError:
        """Fetch, expect an error, and see that it does not give the credentials away."""
        with pytest.raises(PlatformError) as caught:
            self.fetch(answers, **how)
        assert SECRET not in str(caught.value)
        return caught.value

    def test_silence_is_unavailable(self) -> None:
        error = self.refusal(None, timeout_s=0.2)
        assert isinstance(error, PlatformUnavailable)
        assert "no complete answer within 0.2 s" in str(error)

    def test_name_that_does_not_resolve_is_unavailable(self) -> None:
        with pytest.raises(PlatformUnavailable, match=r"shop\.example has no address"):
            self.fetch_resolving_to()

    def test_status_401_refuses_the_credentials(self) -> None:
        error = self.refusal(http(status=401))
        assert isinstance(error, CredentialsRefused)
        assert "shop.example answered 401 Unauthorized" in str(error)

    def test_status_403_says_that_a_right_is_missing(self) -> None:
        error = self.refusal(http(status=403))
        assert isinstance(error, CredentialsRefused)
        assert "lack a right" in str(error)

    @pytest.mark.parametrize("status", [404, 410, 400, 422])
    def test_other_refusals_are_the_owners_to_mend(self, status: int) -> None:
        assert isinstance(self.refusal(http(status=status)), ConfigurationRefused)

    def test_status_429_is_unavailable_for_as_long_as_the_platform_says(self) -> None:
        error = self.refusal(http(status=429, headers={"Retry-After": "120"}))
        assert isinstance(error, PlatformUnavailable)
        assert error.retry_after_s == 120

    def test_status_429_then_success(self) -> None:
        answers = iter([http(status=429), self.good])
        self.refusal(lambda _: next(answers))
        assert self.fetch(lambda _: next(answers)).http_status == 200

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_status_5xx_is_unavailable(self, status: int) -> None:
        error = self.refusal(http("Traceback ...", status=status))
        assert isinstance(error, PlatformUnavailable)
        assert error.retry_after_s is None

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"{'a': 1}", b"\xff\xfe\xfa", b'{"a": NaN}', b'{"a": 1e999999999999}'],
    )
    def test_malformed_json_is_a_bad_response(self, body: bytes) -> None:
        assert isinstance(self.refusal(http(body)), BadResponse)

    def test_web_page_instead_of_json_is_named_as_such(self) -> None:
        error = self.refusal(http("<html>", headers={"Content-Type": "text/html; charset=utf-8"}))
        assert isinstance(error, BadResponse)
        assert "a web page, not JSON" in str(error)

    def test_nesting_bomb_is_a_bad_response(self) -> None:
        error = self.refusal(http(b"[" * 500_000))
        assert isinstance(error, BadResponse)
        assert "nested too deeply" in str(error)

    def test_body_too_large_is_a_bad_response(self) -> None:
        error = self.refusal(http(b'{"a": "' + b"x" * 2_000_000 + b'"}'))
        assert isinstance(error, BadResponse)
        assert "more than 2 MB" in str(error)

    def test_document_of_another_shape_is_a_bad_response(self) -> None:
        for body in ("[]", "{}", "null", "1", '"text"'):
            assert isinstance(self.refusal(http(body)), BadResponse), body
