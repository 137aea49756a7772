"""/page/session: logging in to the page with the token, and out again.

The server keeps nothing about a session: the cookie says until when it is good, under a MAC that
only who has the token can make. So it survives a restart, and another token ends it.
"""

import hashlib
import hmac
from collections.abc import Iterator

from qstash_server.broker import Broker
from qstash_server.call import Answer, Call, header_value
from qstash_server.gate import check_token
from qstash_server.settings import DEVELOPMENT_TOKEN, Settings

PATH = "/page/session"
LIFETIME_S = 12 * 3600


async def get(broker: Broker, call: Call) -> Answer:
    """Tell the page whether to ask for the token, and whether one can log out."""
    valid = is_valid(call, broker.settings, broker.clock.now_ms())
    return Answer(body={"loggedIn": valid, "open": is_open(broker.settings)})


async def log_in(broker: Broker, call: Call) -> Answer:
    """Give out a cookie for the token, which comes as for the API. Raises Unauthorized."""
    token = broker.settings.token
    check_token(call.headers, None, token=token)
    expiry = str(broker.clock.now_ms() + LIFETIME_S * 1000)
    return _set_cookie(call, token, f"{expiry}.{_mac(token, expiry)}", LIFETIME_S)


async def log_out(broker: Broker, call: Call) -> Answer:
    return _set_cookie(call, broker.settings.token, "", 0)


def is_open(settings: Settings) -> bool:
    """Whether nobody has to log in: who reaches this machine's loopback knows the public token."""
    return settings.on_loopback and settings.token == DEVELOPMENT_TOKEN


def is_valid(call: Call, settings: Settings, now_ms: int) -> bool:
    """Whether the call may see and do what the page offers."""
    if is_open(settings):
        return True
    cookies = _cookies(call, _cookie_name(settings.token))
    return any(_is_good(cookie, settings.token, now_ms) for cookie in cookies)


def _is_good(cookie: str, token: str, now_ms: int) -> bool:
    expiry, _, mac = cookie.partition(".")
    if not hmac.compare_digest(mac.encode(errors="replace"), _mac(token, expiry).encode()):
        return False
    return now_ms < int(expiry)


def _mac(token: str, text: str) -> str:
    content = b"qstash page: " + text.encode(errors="replace")
    return hmac.new(token.encode(), content, hashlib.sha256).hexdigest()


def _cookie_name(token: str) -> str:
    # Cookies do not tell ports apart: two servers on one machine, each with a token of its own,
    # would log each other out if their cookies had one name.
    return "qstash_page_" + _mac(token, "name")[:8]


def _cookies(call: Call, name: str) -> Iterator[str]:
    for part in (header_value(call.headers, "cookie") or "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            yield value


def _set_cookie(call: Call, token: str, value: str, lifetime_s: int) -> Answer:
    cookie = f"{_cookie_name(token)}={value}; Path=/page; Max-Age={lifetime_s}"
    cookie += "; HttpOnly; SameSite=Strict"
    # The browser says how it got here. Behind a proxy with TLS the cookie never leaves TLS.
    if (header_value(call.headers, "origin") or "").startswith("https://"):
        cookie += "; Secure"
    return Answer(headers={"Set-Cookie": cookie})
