import pytest

from qstash_server.page.session import LIFETIME_S
from tests.qstash_server.page.conftest import PAGE, log_in
from tests.qstash_server.running import Running


def status(server: Running, headers: dict[str, str]) -> int:
    return server.request("GET", "/page/data", headers=headers, token="").status


def test_public_token_on_the_loopback_needs_no_login(server: Running) -> None:
    answer = server.request("GET", "/page/session", headers=PAGE, token="")
    assert answer.json == {"loggedIn": True, "open": True}
    assert status(server, PAGE) == 200


def test_token_of_ones_own_has_to_be_given(closed: Running) -> None:
    answer = closed.request("GET", "/page/session", headers=PAGE, token="")
    assert answer.json == {"loggedIn": False, "open": False}
    assert status(closed, PAGE) == 401
    headers = log_in(closed)
    answer = closed.request("GET", "/page/session", headers=headers, token="")
    assert answer.json == {"loggedIn": True, "open": False}
    assert status(closed, headers) == 200


@pytest.mark.parametrize("token", ["", "wrong"])
def test_wrong_token_gives_no_cookie(closed: Running, token: str) -> None:
    answer = closed.request("POST", "/page/session", headers=PAGE, token=token)
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers


def test_token_in_the_query_does_not_log_in(server: Running) -> None:
    path = f"/page/session?qstash_token={server.token}"
    assert server.request("POST", path, headers=PAGE, token="").status == 401


def test_cookie_is_good_for_its_time_and_not_longer(closed: Running) -> None:
    headers = log_in(closed)
    closed.advance(LIFETIME_S - 1)
    assert status(closed, headers) == 200
    closed.advance(1)
    assert status(closed, headers) == 401


@pytest.mark.parametrize(
    "value", ["", ".", "9", "9.", "9." + "0" * 64, "x.y", "é.é", "99999999999999.{mac}", "{expiry}.{mac}0"]
)  # fmt: skip
def test_cookie_that_was_made_up_or_changed_is_refused(closed: Running, value: str) -> None:
    headers = log_in(closed)
    name, _, good = headers["Cookie"].rpartition("=")
    expiry, _, mac = good.partition(".")
    changed = value.format(expiry=expiry, mac=mac)
    assert status(closed, {**PAGE, "Cookie": f"{name}={changed}"}) == 401
    assert status(closed, {**PAGE, "Cookie": f"{name}={changed}; {name}={good}"}) == 200


def test_cookie_is_not_the_token_and_does_not_open_the_api(closed: Running) -> None:
    headers = log_in(closed)
    assert closed.token not in headers["Cookie"]
    assert closed.request("GET", "/v2/dlq", headers=headers, token="").status == 401
    assert closed.request("GET", "/page/keys", headers=headers, token="").status == 404


def test_logging_out_takes_the_cookie_away(closed: Running) -> None:
    answer = closed.request("DELETE", "/page/session", headers=log_in(closed), token="")
    assert answer.status == 200
    assert "=; Path=/page; Max-Age=0;" in answer.headers["Set-Cookie"]


def test_cookie_stays_within_tls_where_the_browser_came_over_tls(closed: Running) -> None:
    host = closed.url.partition("://")[2]
    headers = PAGE | {"Authorization": f"Bearer {closed.token}".encode().decode("latin-1")}
    secure = []
    for scheme in ("http", "https"):
        origin = {"Origin": f"{scheme}://{host}"}
        answer = closed.request("POST", "/page/session", headers=headers | origin, token="")
        secure.append(answer.headers["Set-Cookie"].endswith("; Secure"))
    assert secure == [False, True]
