from email.utils import formatdate

import pytest

from qstash_server.dispatch.outcome import (
    Delivered,
    Failed,
    Outcome,
    Retry,
    default_back_off_s,
    judge,
)
from qstash_server.envelope import Envelope
from qstash_server.message import Message, Response, new_message
from tests.qstash_server.running import envelope

NOW_MS = 1_795_300_000_000


def message(*, retried: int = 0, retries: int = 3, retry_delay: str | None = None) -> Message:
    fresh = new_message(
        envelope(retries=retries, retry_delay=retry_delay), now_ms=NOW_MS, due_ms=NOW_MS
    )
    return Message(
        id=fresh.id,
        envelope=fresh.envelope,
        created_ms=NOW_MS,
        not_before_ms=NOW_MS,
        due_ms=NOW_MS,
        retried=retried,
    )


def after(status: int, headers: dict[str, str] | None = None, **changes: object) -> Outcome:
    listed = {name: [value] for name, value in (headers or {}).items()}
    response = Response(status=status, headers=listed, body=b"")
    return judge(message(**changes), response, NOW_MS)  # type: ignore[arg-type]


def wait_s(outcome: Outcome) -> float:
    assert isinstance(outcome, Retry)
    return (outcome.due_ms - NOW_MS) / 1000


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_success(status: int) -> None:
    assert after(status) == Delivered()


@pytest.mark.parametrize("status", [0, 199, 301, 400, 404, 429, 500, 503])
def test_everything_else_is_tried_again(status: int) -> None:
    assert wait_s(after(status)) == 12


def test_default_back_off_is_the_documented_one() -> None:
    assert [default_back_off_s(n) for n in range(1, 8)] == [
        12,
        2 * 60 + 28,
        30 * 60 + 8,
        6 * 3600 + 7 * 60 + 6,
        86_400,
        86_400,
        86_400,
    ]
    assert default_back_off_s(10_000) == 86_400


def test_last_retry_that_fails_is_final() -> None:
    assert isinstance(after(500, retried=2), Retry)
    assert after(500, retried=3) == Failed()
    assert after(500, retries=0) == Failed()


def test_own_expression_replaces_the_back_off() -> None:
    assert wait_s(after(500, retry_delay="1000 * (1 + retried)")) == 1
    assert wait_s(after(500, retried=2, retry_delay="1000 * (1 + retried)")) == 3


def test_expression_without_a_result_falls_back_to_the_default() -> None:
    assert wait_s(after(500, retry_delay="1 / retried")) == 12


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "6m5s"}, 365),
        ({"Retry-After": "86400"}, 86_400),
        ({"Retry-After": "86401"}, 12),
        ({"Retry-After": "25h"}, 12),
        ({"Retry-After": "-5"}, 12),
        ({"Retry-After": "soon"}, 12),
        ({"Retry-After": formatdate(NOW_MS / 1000 + 90, usegmt=True)}, 90),
        ({"Retry-After": formatdate(NOW_MS / 1000 - 90, usegmt=True)}, 0),
        ({"X-Ratelimit-Reset": "3"}, 3),
        ({"X-Ratelimit-Reset-Requests": "1.5s"}, 1.5),
        ({"X-Ratelimit-Reset-Tokens": "2m"}, 120),
        ({"X-Ratelimit-Reset": str(NOW_MS // 1000 + 60)}, 12),
        ({"Retry-After": "soon", "X-Ratelimit-Reset": "3"}, 3),
        ({"Retry-After": "5", "X-Ratelimit-Reset": "3"}, 5),
    ],
)
def test_destination_may_say_when(headers: dict[str, str], seconds: float) -> None:
    assert wait_s(after(503, headers)) == seconds


def test_destination_wins_over_the_expression() -> None:
    assert wait_s(after(503, {"Retry-After": "7"}, retry_delay="1000")) == 7


def test_489_with_its_header_is_final_and_without_it_is_not() -> None:
    assert after(489, {"Upstash-Nonretryable-Error": "true"}) == Failed()
    assert isinstance(after(489), Retry)
    assert isinstance(after(488, {"Upstash-Nonretryable-Error": "true"}), Retry)


def test_envelope_survives_its_own_json() -> None:
    sent = envelope(retries=5, retry_delay="retried")
    assert Envelope.from_json(sent.to_json(), sent.body) == sent
