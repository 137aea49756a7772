"""One call to a JSON API: what came back, or the PlatformError that says what to do."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn

from sites.outbound import Answer, Client, OutboundError, RequestRefused, parse_url
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    PlatformUnavailable,
)

Json = Any  # What others send may be anything; a platform checks what it reads.

MAX_RETRY_AFTER_S = 86_400.0
_MAX_EXPONENT = 400  # A double's, with room for a factor.
_MAY_PASS = frozenset({408, 425, 429})


@dataclass(frozen=True, kw_only=True)
class JsonAnswer:
    """A successful call.

    data: the parsed body; numbers with a decimal point or an exponent are Decimal.
    """

    data: Json = field(repr=False)
    answer: Answer


async def call(
    client: Client,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes = b"",
) -> JsonAnswer:
    """Call a JSON API once and return its 2xx answer; raise one of the PlatformError family."""
    try:
        answer = await client.request(
            method, url, headers={"Accept": "application/json", **headers}, content=content
        )
    except RequestRefused as exc:
        raise ConfigurationRefused(str(exc)) from exc
    except OutboundError as exc:
        raise PlatformUnavailable(str(exc)) from exc
    if not 200 <= answer.status < 300:
        _refuse(answer, redirected=answer.url.origin != parse_url(url).origin)
    return JsonAnswer(data=_parsed(answer), answer=answer)


def _refuse(answer: Answer, *, redirected: bool) -> NoReturn:
    host, status = answer.url.host, answer.status
    said = f"{host} answered {status_in_words(status)}"
    retry_after_s = _retry_after_s(answer.headers.get("Retry-After", ""))
    if status >= 500 or status in _MAY_PASS:
        raise PlatformUnavailable(said, retry_after_s=retry_after_s)
    if status in (401, 403) and redirected:
        raise ConfigurationRefused(
            f"{said} after a redirect; credentials are not sent on to another address, "
            f"so enter the one that is redirected to"
        )
    if status == 401:
        raise CredentialsRefused(f"{said}: it does not accept the credentials; enter them again")
    if status == 403:
        raise CredentialsRefused(f"{said}: the credentials lack a right; check what they may read")
    if 300 <= status < 400:
        raise ConfigurationRefused(f"{said}, a redirect; enter the address it leads to")
    raise ConfigurationRefused(f"{said}; check the URL and what is sent to it")


def status_in_words(status: int) -> str:
    """Return '404 Not Found'; the words are ours, a host's own could be anything."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _retry_after_s(value: str) -> float | None:
    """Read a Retry-After header, seconds or a date (RFC 9110, 10.2.3); at most a day."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _parsed(answer: Answer) -> Json:
    host = answer.url.host
    if answer.truncated:
        raise BadResponse(f"{host} sent more than {len(answer.body) // 1_000_000} MB")
    try:
        return json.loads(answer.body, parse_float=number, parse_constant=_no_constant)
    except RecursionError:
        raise BadResponse(f"{host} sent JSON that is nested too deeply") from None
    except ValueError as exc:
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise BadResponse(f"{host} sent a web page, not JSON; check the URL") from exc
        raise BadResponse(f"{host} sent something that is not JSON; check the URL") from exc


def number(text: str) -> Decimal:
    """Read a number exactly. ValueError if it is none, or if writing it out would fill memory."""
    try:
        value = Decimal(text)
    except ArithmeticError as exc:
        raise ValueError("not a number") from exc
    if not value.is_finite() or abs(value.adjusted()) > _MAX_EXPONENT:
        raise ValueError("the number is out of range")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
