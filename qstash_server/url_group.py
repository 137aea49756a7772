"""URL groups: a name under which several URLs are published to at once."""

import re
from dataclasses import dataclass

from qstash_server.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9._-]{1,256}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """name: None where it was not given one."""

    url: str
    name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UrlGroup:
    """headers: as a publish request would carry them; defaults of everything sent to the group."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    created_ms: int = 0
    updated_ms: int = 0

    def with_endpoint(self, new: Endpoint) -> tuple[Endpoint, ...]:
        """Return the endpoints with one added; it replaces those with its URL or its name."""
        kept = [
            e for e in self.endpoints if e.url != new.url and (e.name is None or e.name != new.name)
        ]
        return (*kept, new)


def check_name(text: str, *, what: str) -> str:
    """Return the name of a URL group or a queue unchanged. Raises BadRequest."""
    if not _NAME.fullmatch(text):
        raise BadRequest(
            f"invalid {what} name {text!r}: letters, digits, '-', '_' and '.' are allowed"
        )
    return text
