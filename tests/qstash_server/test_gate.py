import json

import pytest

from qstash_server.errors import Forbidden, Unauthorized
from qstash_server.gate import check_site, check_token
from tests.qstash_server.running import Running

LOOPBACK_HOSTS = [
    "localhost",
    "localhost:8080",
    "127.0.0.1:1",
    "127.8.8.8",
    "[::1]:8080",
    "LOCALHOST",
]


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
def test_host_that_names_the_loopback_is_let_in(host: str) -> None:
    check_site([("Host", host)], on_loopback=True)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", "[::2", "0"],
)
def test_other_host_is_refused_on_loopback_and_let_in_elsewhere(host: str) -> None:
    with pytest.raises(Forbidden):
        check_site([("Host", host)], on_loopback=True)
    check_site([("Host", host)], on_loopback=False)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("Origin", "http://localhost:8080", True),
        ("Origin", "http://localhost:9090", False),
        ("Origin", "https://evil.example", False),
        ("Origin", "null", False),
        ("Origin", "", False),
        ("Sec-Fetch-Site", "same-origin", True),
        ("Sec-Fetch-Site", "none", True),
        ("Sec-Fetch-Site", "same-site", False),
        ("Sec-Fetch-Site", "cross-site", False),
    ],
)
@pytest.mark.parametrize("on_loopback", [True, False])
def test_page_of_another_site_is_refused(
    name: str, value: str, allowed: bool, on_loopback: bool
) -> None:
    headers = [("host", "localhost:8080"), (name, value)]
    if allowed:
        check_site(headers, on_loopback=on_loopback)
    else:
        with pytest.raises(Forbidden):
            check_site(headers, on_loopback=on_loopback)


def test_link_on_another_site_leads_only_to_where_it_may() -> None:
    followed = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
    loaded = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")]
    host = ("Host", "localhost:8080")
    check_site([host, *followed], on_loopback=True, may_be_linked=True)
    for headers in (
        [host, *loaded],
        [host, ("Origin", "https://evil.example"), *followed],
        [("Host", "evil.example"), *followed],
    ):
        with pytest.raises(Forbidden):
            check_site(headers, on_loopback=True, may_be_linked=True)
    with pytest.raises(Forbidden):
        check_site([host, *followed], on_loopback=True)


@pytest.mark.parametrize("header", ["Bearer secret", "bearer secret", "Bearer  secret "])
def test_token_in_the_header_is_accepted(header: str) -> None:
    check_token([("authorization", header)], None, token="secret")


def test_token_in_the_query_is_accepted_when_there_is_no_header() -> None:
    check_token([], "secret", token="secret")


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([], None),
        ([], ""),
        ([], "wrong"),
        ([("Authorization", "Bearer wrong")], None),
        ([("Authorization", "Bearer")], None),
        ([("Authorization", "Basic secret")], None),
        ([("Authorization", "secret")], None),
        ([("Authorization", "Bearer wrong")], "secret"),
        ([("Authorization", "Bearer s\udcffcret")], None),
        ([("Authorization", "Bearer gehéim")], None),
    ],
)
def test_wrong_or_missing_token_is_refused(
    headers: list[tuple[str, str]], query: str | None
) -> None:
    with pytest.raises(Unauthorized):
        check_token(headers, query, token="secret")


@pytest.mark.parametrize("token", ["", "wrong"])
def test_answer_without_the_token_is_401_with_a_json_error(server: Running, token: str) -> None:
    answer = server.request("GET", "/v2/keys", token=token)
    assert answer.status == 401
    assert answer.json["error"].startswith("unauthorized")
    assert server.token not in answer.text


def test_form_of_another_site_cannot_publish_with_the_public_token(server: Running) -> None:
    path = f"/v2/publish/http://127.0.0.1:9/x?qstash_token={server.token}"
    for header in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert server.request("POST", path, "x", header, token="").status == 403
    assert server.request("POST", path, "x", {"Host": "evil.example"}, token="").status == 403
    assert server.sdk.message.cancel_all() == 0


def test_forbidden_is_said_as_json(server: Running) -> None:
    answer = server.request("OPTIONS", "/v2/keys", headers={"Origin": "https://evil.example"})
    assert answer.status == 403
    assert list(json.loads(answer.text)) == ["error"]
