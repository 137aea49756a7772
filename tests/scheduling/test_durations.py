import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduling.durations import DurationError, format_duration, parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300", 300), ("300s", 300), ("5m", 300), ("1h30m3s", 5403), ("2d", 172_800), (" 5M ", 300)],
)
def test_seconds_and_units_are_read(text: str, seconds: int) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "m5", "5 minutes", "-5s", "1.5h", "5ms", "٣s", "9" * 30])
def test_anything_else_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(DurationError, match="90s, 5m, 1h30m, 2d"):
        parse_duration_s(text)


@given(st.integers(0, 10_000_000))
def test_a_formatted_duration_is_read_back(seconds: int) -> None:
    assert parse_duration_s(format_duration(seconds)) == seconds
