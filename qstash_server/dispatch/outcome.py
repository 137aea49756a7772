"""What follows from an attempt: delivered, once more, or failed for good."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from qstash_server.message import Message, Response
from qstash_server.parsing.durations import parse_go_duration_s
from qstash_server.parsing.retry_delay import parse_retry_delay

LONGEST_BACK_OFF_S = 86_400
NON_RETRYABLE_STATUS = 489
_RETRY_HEADERS = (
    "Retry-After",
    "X-Ratelimit-Reset",
    "X-Ratelimit-Reset-Requests",
    "X-Ratelimit-Reset-Tokens",
)


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """A 2xx answer."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Another attempt at `due_ms`."""

    due_ms: int


@dataclass(frozen=True, kw_only=True)
class Failed:
    """No attempt is left, or the destination said that none would help."""


Outcome = Delivered | Retry | Failed


def judge(message: Message, response: Response, now_ms: int) -> Outcome:
    """Decide what the response to the latest attempt means."""
    if response.ok:
        return Delivered()
    if message.retried >= message.envelope.retries or _is_final(response):
        return Failed()
    wait_ms = _asked_wait_ms(response, now_ms)
    if wait_ms is None:
        wait_ms = _own_wait_ms(message)
    return Retry(due_ms=now_ms + wait_ms)


def _is_final(response: Response) -> bool:
    said = (response.header("Upstash-Nonretryable-Error") or "").strip().lower()
    return response.status == NON_RETRYABLE_STATUS and said == "true"


def _own_wait_ms(message: Message) -> int:
    expression = message.envelope.retry_delay
    if expression is not None:
        delay_ms = parse_retry_delay(expression).delay_ms(message.retried)
        if delay_ms is not None:
            return delay_ms
    return default_back_off_s(message.retried + 1) * 1000


def default_back_off_s(retry: int) -> int:
    """Return the wait before retry number `retry`, which counts from 1: 12 s, 2 min 28 s, 30 min …

    Source: docs qstash/features/retry, min(86400, e ** (2.5 * n)).
    """
    exponent = min(2.5 * retry, 20.0)  # Far past the cap, and far from an overflow.
    return min(LONGEST_BACK_OFF_S, int(math.exp(exponent)))


def _asked_wait_ms(response: Response, now_ms: int) -> int | None:
    """Return the wait that the destination asks for; more than a day is not heeded."""
    for wait_s in _asked_waits_s(response, now_ms):
        if 0 <= wait_s <= LONGEST_BACK_OFF_S:
            return int(wait_s * 1000)
    return None


def _asked_waits_s(response: Response, now_ms: int) -> Iterator[float]:
    for name in _RETRY_HEADERS:
        text = (response.header(name) or "").strip()
        wait_s = _parse_wait_s(text, now_ms) if text else None
        if wait_s is not None:
            yield wait_s


def _parse_wait_s(text: str, now_ms: int) -> float | None:
    """Read seconds, a Go duration, or an RFC 1123 date (one that has passed means now)."""
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return float(text)
    duration_s = parse_go_duration_s(text)
    if duration_s is not None:
        return duration_s
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - now_ms / 1000)
