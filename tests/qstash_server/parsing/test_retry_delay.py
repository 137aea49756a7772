import math
import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qstash_server.dispatch.outcome import Retry, judge
from qstash_server.errors import BadRequest
from qstash_server.message import Response, new_message
from qstash_server.parsing.retry_delay import MAX_DELAY_MS, MAX_LENGTH, parse_retry_delay
from tests.qstash_server.running import envelope


@pytest.mark.parametrize(
    ("text", "retried", "expected_ms"),
    [
        ("15000", 0, 15_000),
        ("1000 * (1 + retried)", 0, 1000),
        ("1000 * (1 + retried)", 4, 5000),
        ("pow(2, retried)", 10, 1024),
        ("max(10, pow(2, retried))", 0, 10),
        ("min(1, 2, 3)", 0, 1),
        ("1 + 2 * 3 - 4 / 2", 0, 5),
        ("10 - 3 - 2", 0, 5),
        ("100 / 10 / 2", 0, 5),
        ("17 % 5", 0, 2),
        ("-(-5)", 0, 5),
        ("--5", 0, 5),
        ("+5", 0, 5),
        ("2 * -3 + 10", 0, 4),
        ("abs(0 - 7)", 0, 7),
        ("sqrt(16) + floor(1.9) + ceil(1.1)", 0, 7),
        ("round(2.5)", 0, 3),
        ("exp(0) * 1e3", 0, 1000),
        (".5 * 10", 0, 5),
        ("  7  ", 0, 7),
        ("0 - 5", 0, 0),
        ("pow(10, 300)", 0, MAX_DELAY_MS),
        ("pow(10, 999)", 0, MAX_DELAY_MS),
        ("exp(99999)", 0, MAX_DELAY_MS),
        ("1 / 0", 0, None),
        ("sqrt(0 - 1)", 0, None),
        ("pow(10, 300) * pow(10, 300) * 0", 0, None),
    ],
)
def test_expression_gives_milliseconds(text: str, retried: int, expected_ms: int | None) -> None:
    assert parse_retry_delay(text).delay_ms(retried) == expected_ms


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a number"),
        ("1 +", "found 'the end'"),
        ("1 1", "unexpected '1'"),
        ("(1", "expected ')'"),
        ("1)", "unexpected ')'"),
        ("retries", "unknown name 'retries'"),
        ("pow(1)", "pow takes 2 argument(s), not 1"),
        ("max()", "expected a number"),
        ("sqrt", "expected '('"),
        ("retried(1)", "unexpected '('"),
        ("2 ** 3", "expected a number, found '*'"),
        ("2 ^ 3", "unexpected character '^'"),
        ("__import__(1)", "unknown name '__import__'"),
        ("1;2", "unexpected character ';'"),
        ("((" * 40 + "1" + "))" * 40, "nested deeper"),
        ("-" * 100 + "1", "nested deeper"),
        ("1" * (MAX_LENGTH + 1), "longer than"),
        ("1 +\n", "found 'the end'"),
    ],
)
def test_bad_expression_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(BadRequest, match="invalid retry delay expression") as caught:
        parse_retry_delay(text)
    assert reason in str(caught.value)


atoms = st.sampled_from(["retried", "0", "1", "2.5", "1e9", "7"])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        inner.map(lambda x: f"-{x}"),
        st.tuples(st.sampled_from(["sqrt", "abs", "exp", "floor", "ceil", "round"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        ),
        st.tuples(st.sampled_from(["pow", "min", "max"]), inner, inner).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
    ),
    max_leaves=12,
)
noise = st.text(alphabet="0123456789.eE+-*/%(), retidpowmaxqs", max_size=300) | st.text(
    max_size=300
)


@settings(deadline=None)
@given(text=expressions | noise, retried=st.integers(0, 10_000) | st.integers(0, 10**400))
@example(text="pow(retried, retried)", retried=10_000)
@example(text="exp(exp(exp(retried)))", retried=10_000)
@example(text="retried % 0", retried=10_000)
@example(text="floor(1e999 - 1e999)", retried=0)
@example(text="max(" + ",".join(["retried"] * 30) + ")", retried=10**400)
def test_no_input_hangs_or_crashes(text: str, retried: int) -> None:
    started = time.monotonic()
    try:
        delay_ms = parse_retry_delay(text).delay_ms(retried)
    except BadRequest:
        delay_ms = None
    assert delay_ms is None or 0 <= delay_ms <= MAX_DELAY_MS
    assert time.monotonic() - started < 5


@settings(deadline=None)
@given(text=expressions, retried=st.integers(0, 10_000))
def test_every_expression_leads_to_a_retry_within_a_year(text: str, retried: int) -> None:
    now_ms = 1_795_300_000_000
    fresh = new_message(envelope(retries=10_001, retry_delay=text), now_ms=now_ms, due_ms=now_ms)
    failed = Response(status=500, headers={}, body=b"")
    try:
        outcome = judge(replace(fresh, retried=retried), failed, now_ms)
    except BadRequest:
        return  # It would not have been accepted.
    assert isinstance(outcome, Retry)
    assert now_ms <= outcome.due_ms <= now_ms + MAX_DELAY_MS


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 100))
def test_arithmetic_agrees_with_pythons(a: int, b: int, c: int, retried: int) -> None:
    expected = min(max(math.floor(a + b * retried / c), 0), MAX_DELAY_MS)
    assert parse_retry_delay(f"floor({a} + {b} * retried / {c})").delay_ms(retried) == expected
