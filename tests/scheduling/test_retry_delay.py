from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstash_server.parsing.retry_delay import parse_retry_delay
from scheduling.retry_delay import RetryDelayError, check_retry_delay


@pytest.mark.parametrize(
    "text",
    [
        "60000",
        "1000 * (1 + retried)",
        "pow(2, retried)",
        "max(10, pow(2, retried))",
        "min(600000, 1000 * exp(retried)) / 2",
        "-retried + 5.5",
        "round(sqrt(abs(floor(ceil(retried)))))",
    ],
)
def test_expressions_of_the_language_are_accepted(text: str) -> None:
    check_retry_delay(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "now()",
        "__import__('os')",
        "retried.real",
        "2 ** 10",
        "[1]",
        "'60000'",
        "True",
        "0x10",
        "1_000",
        "2j",
        "pow(x=1)",
        "pow()",
        "lambda: 1",
        "1 if retried else 2",
        "(" * 99 + ")" * 99,
        "1+" * 150 + "1",
    ],
)
def test_everything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(RetryDelayError, match="Write milliseconds"):
        check_retry_delay(text)


@given(st.text(max_size=300))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    with suppress(RetryDelayError):
        check_retry_delay(text)


numbers = st.integers(0, 10**6).map(str)
grammar = st.recursive(
    st.one_of(numbers, st.just("retried")),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(" + , - , * , / ".split(",")), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        st.tuples(inner, inner).map(lambda pair: f"max({pair[0]}, {pair[1]})"),
        inner.map(lambda text: f"sqrt({text})"),
    ),
    max_leaves=6,
).filter(lambda text: len(text) <= 200)


@given(grammar)
def test_whatever_is_accepted_here_the_qstash_server_accepts(text: str) -> None:
    check_retry_delay(text)
    parse_retry_delay(text)
