"""Destinations: the text behind `/v2/publish/` and its like."""

import re
from urllib.parse import quote, unquote, urlsplit

from qstash_server.errors import BadRequest, NotFound

_GROUP_NAME = re.compile(r"[A-Za-z0-9_-]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")
_PRINTABLE_ASCII = "".join(map(chr, range(33, 127)))
_INVALID = "invalid destination url: "


def parse_destination(raw: str) -> str:
    """Return the destination URL of a request path, with its query, exactly as it will be called.

    raw: as it stood in the request, neither decoded nor normalised. Raises BadRequest.
    """
    if "://" not in raw and "://" in unquote(raw):
        raw = unquote(raw)  # Some clients escape the whole destination.
    if "://" not in raw:
        _refuse_name(raw)
    return parse_url(raw, what=_INVALID)


def parse_url(text: str, *, what: str) -> str:
    """Return an absolute http(s) URL in ASCII and without its fragment.

    what: how the error begins, for example "invalid callback url: ". Raises BadRequest.
    """
    text = text.strip()
    if not text.isprintable():  # urlsplit would drop some of it without a word.
        raise BadRequest(f"{what}control characters in it")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadRequest(f"{what}{error}") from error
    if parts.scheme not in ("http", "https"):
        raise BadRequest(f"{what}endpoint has invalid scheme, add http:// or https://")
    if not host:
        raise BadRequest(f"{what}endpoint has no host")
    authority = parts.netloc.replace(host, _ascii_host(host, what))
    if not authority.isascii() or "\\" in authority:
        raise BadRequest(f"{what}invalid characters before the path")
    rest = text.partition("#")[0].partition("://")[2][len(parts.netloc) :]
    # What is percent-encoded already stays as it is: the signature's subject must equal the URL
    # that was published, byte for byte.
    return f"{parts.scheme}://{authority}{quote(rest, safe=_PRINTABLE_ASCII)}"


def _ascii_host(host: str, what: str) -> str:
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode()
        ascii_host.encode().decode("idna")  # An "xn--" label must stand for something.
    except UnicodeError as error:
        raise BadRequest(f"{what}invalid host {host!r}") from error
    if not _HOST.fullmatch(ascii_host):
        raise BadRequest(f"{what}invalid host {host!r}")
    return ascii_host


def _refuse_name(raw: str) -> None:
    if raw.startswith("api/"):
        raise BadRequest(f"{raw!r} is not a destination here: this server calls URLs only")
    if _GROUP_NAME.fullmatch(raw) and raw != "localhost":
        raise NotFound(f"url group {raw!r} not found: this server has no URL groups")
    raise BadRequest(f"{_INVALID}endpoint has invalid scheme, add http:// or https://")
