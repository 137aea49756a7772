"""Who may ask: a caller with the token, on this machine, and no web page of another site."""

import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from qstash_server.call import header_value
from qstash_server.errors import Forbidden, Unauthorized
from qstash_server.settings import is_loopback

Pairs = Iterable[tuple[str, str]]


def check_site(headers: Pairs, *, on_loopback: bool, may_be_linked: bool = False) -> None:
    """Refuse what a browser sends on behalf of another site. Raises Forbidden.

    The development token is public and may stand in the URL, so any page that somebody opens could
    publish here with a plain form. A host name that is not loopback means that a page's own domain
    was made to resolve to this machine (DNS rebinding), which makes it same-origin to the browser.

    may_be_linked: whether a person may follow a link from another site to here.
    """
    headers = list(headers)
    host = header_value(headers, "host") or ""
    if on_loopback and not is_loopback(_host_name(host)):
        raise Forbidden(f"the Host header {host!r} does not name this machine's loopback")
    origin = header_value(headers, "origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise Forbidden(f"requests from the site {origin!r} are refused")
    if may_be_linked and header_value(headers, "sec-fetch-mode") == "navigate":
        return
    # "none" is a person who typed the address; a page cannot cause it.
    if header_value(headers, "sec-fetch-site") not in (None, "same-origin", "none"):
        raise Forbidden("requests from other sites are refused")


def check_token(headers: Pairs, in_query: str | None, *, token: str) -> None:
    """Raise Unauthorized unless the token is in the Authorization header, or came in the query."""
    given = in_query
    header = header_value(headers, "authorization")
    if header is not None:
        scheme, _, given = header.partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else ""
    if given is None:
        raise Unauthorized("unauthorized: send the header Authorization: Bearer QSTASH_TOKEN")
    # Bytes: compare_digest refuses text that is not ASCII.
    if not hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode()):
        raise Unauthorized("unauthorized: the token is not the one of this server")


def _host_name(host: str) -> str:
    """Return a Host header without its port; brackets of IPv6 included."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
