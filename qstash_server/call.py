"""One request to the API and the answer to it, free of the HTTP library."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from qstash_server.errors import BadRequest

TOKEN_PARAMETER = "qstash_token"  # noqa: S105 - the name of the query parameter, not its value


@dataclass(frozen=True, kw_only=True)
class Call:
    """method and path as they came, the path neither decoded nor normalised; query without `?`."""

    method: str
    path: str
    raw_query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    caller_ip: str

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query parameters, but for the token."""
        return [pair for pair in self._parameters if pair[0] != TOKEN_PARAMETER]

    @property
    def token(self) -> str | None:
        """The token that came in the query."""
        return next((value for name, value in self._parameters if name == TOKEN_PARAMETER), None)

    @property
    def _parameters(self) -> list[tuple[str, str]]:
        return [_decode(part) for part in self.raw_query.split("&") if part]

    @property
    def destination_query(self) -> str:
        """What of the query belongs to the destination: all but the token and the options.

        A destination is not escaped when it is put into the path, so its query arrives as ours.
        """
        parts = [part for part in self.raw_query.split("&") if not _is_ours(_decode(part)[0])]
        return "&".join(parts)

    def json(self) -> Any:
        """Return the body as JSON. Raises BadRequest."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not valid JSON: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Answer:
    """body: anything that JSON can hold; None for an answer without a body, bytes go out as they are."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def header_value(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """Return the first value of a header; `name` in lower case."""
    return next((value for key, value in headers if key.lower() == name), None)


def _decode(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return unquote_plus(name), unquote_plus(value)


def _is_ours(name: str) -> bool:
    lower = name.lower()
    return lower == TOKEN_PARAMETER or lower.startswith("upstash-")
