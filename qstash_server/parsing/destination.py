"""Destinations: the text behind `/v2/publish/` and its like, a URL or the name of a URL group."""

import re
from urllib.parse import quote, unquote, urlsplit

from qstash_server.errors import BadRequest, NotFound

_GROUP_NAME = re.compile(r"[A-Za-z0-9._-]{1,256}")
_PROVIDERS = ("api/llm", "api/email")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")
_PRINTABLE_ASCII = "".join(map(chr, range(33, 127)))
INVALID = "invalid destination url: "
_NO_SCHEME = f"{INVALID}endpoint has invalid scheme, add http:// or https://"


def parse_destination(raw: str) -> str:
    """Return the destination of a request path: the name of a URL group, or a URL with its query.

    A URL is returned exactly as it will be called. raw: as it stood in the request, neither decoded
    nor normalised. Raises BadRequest.
    """
    if not is_url(raw) and is_url(unquote(raw)):
        raw = unquote(raw)  # Some clients escape the whole destination.
    return parse_url(raw, what=INVALID) if is_url(raw) else _group_name(raw)


def is_url(destination: str) -> bool:
    """Whether a destination is a URL; if not, it names a URL group."""
    return "://" in destination


def no_such_group(name: str) -> BadRequest | NotFound:
    """Return what is wrong with a name that is no URL group."""
    if "." in name or name == "localhost":
        return BadRequest(_NO_SCHEME)
    return NotFound(f"url group {name!r} not found")


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


def _group_name(raw: str) -> str:
    path = raw.partition("?")[0]
    if path.startswith(_PROVIDERS):
        raise BadRequest(
            f"{path} is not a destination here: LLM and e-mail providers are Upstash's own; "
            "publish to the provider's URL instead"
        )
    if not _GROUP_NAME.fullmatch(path):
        raise BadRequest(_NO_SCHEME)
    return path
