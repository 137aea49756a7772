"""One call to a JSON API: what came back, or the PlatformError that says what to do."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn

from sites.outbound import Answer, Client, OutboundError, RequestRefused, parse_url
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    Figures,
    Health,
    PlatformError,
    PlatformUnavailable,
    Snapshot,
)

Json = Any  # What others send may be anything; a platform checks what it reads.

#: Puts an answer that is no success into the vendor's terms: given its status and its parsed body
#: (None when that is no JSON), it returns the error to raise, or None for the usual one. Whatever it
#: quotes has to be one of the words it knows; a body may repeat the credentials.
Refusal = Callable[[int, Json], PlatformError | None]

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

    def snapshot(
        self,
        request: FetchRequest,
        figures: Figures,
        *,
        days: Mapping[date, Figures] | None = None,
        notices: tuple[str, ...] = (),
    ) -> Snapshot:
        """Return what was measured by this call, with the figures that came of it."""
        return Snapshot(
            taken_at=request.now,
            health=Health.UP,
            latency_ms=self.answer.latency_ms,
            http_status=self.answer.status,
            tls_expires_at=self.answer.tls_expires_at,
            figures=figures,
            days=days or {},
            notices=notices,
        )


async def call(
    client: Client,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes = b"",
    refusal: Refusal = lambda status, data: None,
) -> JsonAnswer:
    """Call a JSON API once and return its 2xx answer; raise one of the PlatformError family.

    refusal: the vendor's own words for answers that are no success.
    """
    try:
        answer = await client.request(
            method, url, headers={"Accept": "application/json", **headers}, content=content
        )
    except RequestRefused as exc:
        raise ConfigurationRefused(str(exc)) from exc
    except OutboundError as exc:
        raise PlatformUnavailable(str(exc)) from exc
    if not 200 <= answer.status < 300:
        _refuse(answer, refusal, redirected=answer.url.origin != parse_url(url).origin)
    return JsonAnswer(data=_parsed(answer), answer=answer)


def _refuse(answer: Answer, refusal: Refusal, *, redirected: bool) -> NoReturn:
    # What another address says is not the vendor's word.
    error = None if redirected else refusal(answer.status, _error_body(answer))
    if error is None:
        _refuse_by_status(answer, redirected=redirected)
    if error.retry_after_s is None:
        error.retry_after_s = _asked_wait_s(answer)
    raise error


def _error_body(answer: Answer) -> Json:
    try:
        return _parsed(answer)
    except BadResponse:
        return None


def _asked_wait_s(answer: Answer) -> float | None:
    return _retry_after_s(answer.headers.get("Retry-After", ""))


def _refuse_by_status(answer: Answer, *, redirected: bool) -> NoReturn:
    host, status = answer.url.host, answer.status
    said = f"{host} answered {status_in_words(status)}"
    if status >= 500 or status in _MAY_PASS:
        raise PlatformUnavailable(said, retry_after_s=_asked_wait_s(answer))
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


@contextmanager
def reading(vendor: str) -> Iterator[None]:
    """Raise BadResponse when an answer turns out to have another form while it is read.

    vendor: whose answer it is, in the possessive: "Stripe's".
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as exc:
        raise BadResponse(f"{vendor} answer has another form than expected") from exc


def word(data: Json, *path: str | int) -> str:
    """Return the text at a path through objects and lists, '' where there is none."""
    for step in path:
        try:
            data = data[step]
        except (LookupError, TypeError):
            return ""
    return data if isinstance(data, str) else ""


def whole(value: Json) -> int:
    """Return a JSON number without a fraction. TypeError for anything else, true and 1.0 included."""
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


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
