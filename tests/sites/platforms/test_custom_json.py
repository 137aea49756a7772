import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from sites.platforms.base import ConfigurationRefused, Figures, Metric
from sites.platforms.custom_json import Credentials, CustomJson, Options
from tests.sites.loopback import Request, http, outbound
from tests.sites.platforms.cases import SECRET, JsonApiCases

FIGURES = """
visitors = stats.visitors
revenue [EUR] = sum(orders[].to_number(total))
errors [%] = stats.errors * 100
"""
DOCUMENT = {
    "stats": {"visitors": 42, "errors": 0.015},
    "orders": [{"total": "19.90"}, {"total": "0.10"}],
}


class TestCustomJson(JsonApiCases):
    platform = CustomJson()
    credentials: ClassVar[Mapping[str, str]] = {"username": "owner", "secret": SECRET}
    good = http(json.dumps(DOCUMENT), headers={"Content-Type": "application/json"})

    def typed(self, url: str) -> dict[str, Any]:
        return {"url": url, "auth": "bearer", "figures": FIGURES}

    def received(self, path: str = "/", **options: Any) -> Request:
        """Fetch and return the request as the host received it."""
        requests: list[Request] = []

        def answers(request: Request) -> bytes:
            requests.append(request)
            return self.good

        self.fetch(answers, path=path, **options)
        return requests[0]

    def test_figures_are_read_by_the_lines(self) -> None:
        assert self.fetch(self.good).figures == Figures(
            visitors=42,
            revenue_minor={"EUR": 2000},
            metrics={"errors": Metric(value=1.5, unit="%")},
        )

    def test_bearer_token_is_sent(self) -> None:
        assert self.received().headers["authorization"] == f"Bearer {SECRET}"

    def test_basic_authentication_is_sent(self) -> None:
        kind, pair = self.received(auth="basic").headers["authorization"].split()
        assert (kind, base64.b64decode(pair).decode()) == ("Basic", f"owner:{SECRET}")

    def test_secret_is_sent_in_a_header(self) -> None:
        assert self.received(auth="header", auth_name="X-Api-Key").headers["x-api-key"] == SECRET

    def test_secret_is_sent_in_a_query_parameter_beside_those_of_the_url(self) -> None:
        request = self.received(path="/stats?day=today", auth="query", auth_name="api key")
        assert request.target == f"/stats?day=today&api+key={SECRET}"

    def test_no_authentication_sends_none(self) -> None:
        request = self.received(auth="none")
        assert "authorization" not in request.headers
        assert SECRET not in request.target

    def test_body_is_posted_as_json(self) -> None:
        request = self.received(method="POST", body='{"day": "today"}')
        assert (request.method, request.body) == ("POST", b'{"day": "today"}')
        assert request.headers["content-type"] == "application/json"

    def test_secret_in_a_query_parameter_is_not_given_away_by_errors(self) -> None:
        for answers in (http(status=401), http(status=500), http("<html>"), b"", http(status=404)):
            self.refusal(answers, auth="query", auth_name="key")

    def test_redirected_post_says_that_the_address_is_to_be_changed(self) -> None:
        moved = http(status=308, headers={"Location": "/v2"})
        error = self.refusal(moved, method="POST", body="{}")
        assert isinstance(error, ConfigurationRefused)
        assert "308 Permanent Redirect, a redirect; enter the address it leads to" in str(error)

    def test_credentials_refused_behind_a_redirect_are_not_the_credentials_fault(self) -> None:
        def answers(request: Request) -> bytes:
            port = request.headers["host"].partition(":")[2]
            if request.headers["host"].startswith("shop.example"):
                return http(status=301, headers={"Location": f"http://api.example:{port}/"})
            assert "authorization" not in request.headers
            return http(status=401)

        error = self.refusal(answers)
        assert isinstance(error, ConfigurationRefused)
        assert "enter the one that is redirected to" in str(error)

    def test_stored_lines_that_can_no_longer_be_read_are_the_owners_to_mend(self) -> None:
        options = {**self.options("http://shop.example/"), "figures": "revenue = total"}
        with pytest.raises(ConfigurationRefused, match=r"Line 1: 'revenue' needs its currency"):
            asyncio.run(self.fetch_through(outbound(), options))

    @pytest.mark.parametrize(
        ("auth", "needed"),
        [
            ("none", set()),
            ("bearer", {"secret"}),
            ("basic", {"username"}),
            ("header", {"secret"}),
            ("query", {"secret"}),
        ],
    )
    def test_credentials_needed_follow_the_kind_of_authentication(
        self, auth: str, needed: set[str]
    ) -> None:
        options = self.options("http://shop.example/", auth=auth, auth_name="key")
        assert self.platform.required_credentials(options) == needed


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"url": "ftp://shop.example/"}, "url"),
        ({"figures": ""}, "figures"),
        ({"figures": "# nothing yet"}, "figures"),
        ({"figures": "revenue = total"}, "figures"),
        ({"method": "POST", "body": "{"}, "body"),
        ({"method": "POST", "body": "[" * 9000}, "body"),
        ({"method": "GET", "body": "{}"}, "body"),
        ({"auth": "digest"}, "auth"),
        ({"auth": "header"}, "auth_name"),
        ({"auth": "query"}, "auth_name"),
        ({"auth": "header", "auth_name": "X Key"}, "auth_name"),
        ({"auth": "header", "auth_name": "X-Key:"}, "auth_name"),
        ({"auth": "header", "auth_name": "Host"}, "auth_name"),
        ({"auth": "header", "auth_name": "Transfer-Encoding"}, "auth_name"),
    ],
)
def test_option_that_cannot_work_is_refused(options: dict[str, Any], field: str) -> None:
    typed = {"url": "https://shop.example/", "figures": "visitors = a", **options}
    assert list(Options(CustomJson().options(typed)).errors) == [field]


@pytest.mark.parametrize("secret", ["two\r\nlines", "tab\tbed", "nul\x00"])
def test_secret_with_control_characters_is_refused(secret: str) -> None:
    assert list(Credentials({"secret": secret}).errors) == ["secret"]


def test_secret_is_never_rendered_back() -> None:
    assert SECRET not in str(Credentials({"secret": SECRET}))
