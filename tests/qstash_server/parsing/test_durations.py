import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstash_server.errors import BadRequest
from qstash_server.parsing.durations import parse_duration_s, parse_go_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("50s", 50),
        ("1h30m3s", 5403),
        ("1d10h30m", 124_200),
        ("0s", 0),
        ("7d", 604_800),
        ("90m", 5400),
    ],
)
def test_duration_adds_up_its_parts(text: str, seconds: int) -> None:
    assert parse_duration_s(text, what="Upstash-Delay") == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "5 s", "-5s", "1.5h", "5ms", "1w", "٣s", "5s!"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadRequest, match=r"invalid Upstash-Delay .* for example 50s"):
        parse_duration_s(text, what="Upstash-Delay")


def test_duration_beyond_a_century_is_refused() -> None:
    with pytest.raises(BadRequest, match="longer than"):
        parse_duration_s("999999999999d", what="Upstash-Delay")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.sampled_from("smhd")), min_size=1, max_size=5))
def test_duration_equals_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    whole = parse_duration_s("".join(f"{n}{unit}" for n, unit in parts), what="x")
    assert whole == sum(parse_duration_s(f"{n}{unit}", what="x") for n, unit in parts)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m5s", 365),
        ("1.5h", 5400),
        ("300ms", 0.3),
        ("1h0.5s", 3600.5),
        ("2us", 2e-6),
        (".5s", 0.5),
        ("1d", None),
        ("5", None),
        ("s", None),
        (".s", None),
        ("", None),
        ("1" * 65 + "s", None),
    ],
)
def test_go_duration(text: str, seconds: float | None) -> None:
    assert parse_go_duration_s(text) == seconds
