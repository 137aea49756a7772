import pytest

from tests.qstash_server.page.conftest import PAGE, log_in
from tests.qstash_server.running import Running

CALLS = [
    ("GET", "/page/data"),
    ("GET", "/page/session"),
    ("POST", "/page/session"),
    ("DELETE", "/page/session"),
    ("DELETE", "/page/messages/m"),
    ("POST", "/page/messages/m/retry"),
    ("POST", "/page/schedules/s/pause"),
    ("POST", "/page/schedules/s/resume"),
    ("GET", "/page/dlq/d"),
    ("DELETE", "/page/dlq/d"),
    ("POST", "/page/dlq/d/retry"),
]
OTHER_SITES = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    {"Sec-Fetch-Site": "same-site"},
    {"Host": "evil.example"},
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_call_without_the_header_of_the_page_is_refused(
    server: Running, method: str, path: str
) -> None:
    for headers in ({}, {"X-Requested-With": "XMLHttpRequest"}):
        answer = server.request(method, path, headers=headers, token="")
        assert answer.status == 403
        assert "X-Requested-With" in answer.json["error"]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("header", OTHER_SITES)
def test_call_of_another_site_is_refused_with_the_header_too(
    server: Running, method: str, path: str, header: dict[str, str]
) -> None:
    assert server.request(method, path, headers=PAGE | header, token="").status == 403


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_call_without_a_session_is_refused(closed: Running, method: str, path: str) -> None:
    answer = closed.request(method, path, headers=PAGE, token="")
    public = path == "/page/session" and method != "POST"
    assert answer.status == (200 if public else 401)


def test_session_of_a_person_is_no_use_to_another_site(closed: Running) -> None:
    headers = log_in(closed)
    del headers["X-Requested-With"]
    assert closed.request("GET", "/page/data", headers=headers, token="").status == 403


def test_header_of_the_page_does_not_open_the_api(server: Running) -> None:
    assert server.request("GET", "/v2/keys", headers=PAGE, token="").status == 401
    for path in ("/page/../v2/keys", "/page/%2e%2e/v2/keys", "/page//v2/keys", "/page/"):
        assert server.request("GET", path, headers=PAGE, token="").status == 404


@pytest.mark.parametrize("path", ["/", "/page.css", "/page/data", "/page/nothing"])
def test_every_answer_carries_the_rules_for_the_browser(server: Running, path: str) -> None:
    headers = server.request("GET", path, headers=PAGE, token="").headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


def test_answers_of_the_api_stay_as_they_were(server: Running) -> None:
    answer = server.request("GET", "/v2/keys")
    assert "Content-Security-Policy" not in answer.headers
    assert answer.headers["Content-Type"] == "application/json"
