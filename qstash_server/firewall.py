"""Which destinations may be called: those on the list, if there is one, whose host exists."""

import asyncio
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from qstash_server.errors import BadRequest
from qstash_server.parsing.destination import INVALID

#: Whether a host name exists, as far as this machine can tell.
Lookup = Callable[[str], Awaitable[bool]]

_PATTERN = re.compile(r"(?:(?:\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.I)
_TIMEOUT_S = 3.0
_REMEMBERED_S = 60.0
_MOST_REMEMBERED = 10_000
# A name that exists for sure. When not even this one is found, the machine is offline, and not
# finding another says nothing about it.
_WITNESS = "qstash.upstash.io"


class Firewall:
    """allowed: hosts such as "example.com", "*.example.com" or "127.0.0.1:8000"; none allows all."""

    def __init__(self, *, allowed: tuple[str, ...], lookup: Lookup) -> None:
        self._allowed = tuple(pattern.lower() for pattern in allowed)
        self._lookup = lookup

    def allows(self, url: str) -> bool:
        """Whether the list lets a URL through. Redirects are never followed, so this is enough."""
        if not self._allowed:
            return True
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port
        if port is None:
            port = 443 if parts.scheme == "https" else 80
        names = (_bracketed(host), f"{_bracketed(host)}:{port}")
        return any(_matches(name, pattern) for name in names for pattern in self._allowed)

    def check_listed(self, urls: Iterable[str]) -> None:
        """Raise BadRequest for a URL that the list does not have."""
        for url in urls:
            if not self.allows(url):
                raise BadRequest(
                    f"{INVALID}{urlsplit(url).netloc} is not on this server's list of destinations"
                )

    async def check_exists(self, url: str) -> None:
        """Raise BadRequest for a host that does not exist."""
        host = urlsplit(url).hostname or ""
        if not await self._lookup(host):
            raise BadRequest(f"{INVALID}unable to resolve host: {host}")


def is_pattern(text: str) -> bool:
    """Whether a text could match a host: no scheme, no path, IPv6 in brackets, ASCII."""
    return _PATTERN.fullmatch(text) is not None


class SystemLookup:
    """Asks the machine's resolver, and remembers its answers for a minute."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, bool]] = {}

    async def __call__(self, host: str) -> bool:
        if _needs_no_lookup(host):
            return True
        if f".{host}".rstrip(".").endswith(
            ".invalid"
        ):  # Reserved for names that do not exist (RFC 6761, 6.4).
            return False
        return await self._found(host) or not await self._found(_WITNESS)

    async def _found(self, host: str) -> bool:
        expires, found = self._known.get(host, (0.0, False))
        if expires < time.monotonic():
            found = await _resolves(host)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[host] = (time.monotonic() + _REMEMBERED_S, found)
        return found


async def _resolves(host: str) -> bool:
    """Whether the resolver knows the name; a resolver that is slow or broken denies nothing."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await asyncio.get_running_loop().getaddrinfo(host, None)
    except socket.gaierror as error:
        return error.errno not in (socket.EAI_NONAME, socket.EAI_NODATA)
    except (OSError, UnicodeError):  # A timeout is an OSError, too.
        return True
    return True


def _needs_no_lookup(host: str) -> bool:
    return ":" in host or host == "localhost" or host.replace(".", "").isdigit()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    return name == pattern
