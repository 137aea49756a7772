"""HTTP headers as people write them: one `Name: value` a line."""

import re
from collections.abc import Mapping

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
#: QStash reads these itself, so a schedule cannot carry them to its destination.
RESERVED_PREFIX = "upstash-"


class HeaderError(ValueError):
    """A header that cannot be sent; the message says why and never repeats a value."""


def parse_headers(text: str) -> dict[str, str]:
    """Read lines of `Name: value` into a dict. Empty lines are passed over.

    Raises HeaderError with the number of the line.
    """
    headers: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise HeaderError(f"Line {number}: write a header as 'Name: value'.")
        try:
            check_header(name.strip(), value.strip())
        except HeaderError as error:
            raise HeaderError(f"Line {number}: {error}") from error
        if name.strip().lower() in map(str.lower, headers):
            raise HeaderError(f"Line {number}: {name.strip()} is there twice.")
        headers[name.strip()] = value.strip()
    return headers


def format_headers(headers: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in headers.items())


def check_header(name: str, value: str) -> None:
    """Raise HeaderError unless this header can be sent through QStash."""
    if not _TOKEN.fullmatch(name):
        raise HeaderError(f"{name!r} is not a header name; use letters, digits and dashes.")
    if name.lower().startswith(RESERVED_PREFIX):
        raise HeaderError(f"{name} belongs to QStash; use the fields of the schedule instead.")
    if not (value.isascii() and value.isprintable()):
        raise HeaderError(f"The value of {name} may hold printable ASCII characters only.")
