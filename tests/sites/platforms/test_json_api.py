from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest

from sites.platforms.base import BadResponse
from sites.platforms.json_api import (
    MAX_RETRY_AFTER_S,
    _retry_after_s,
    number,
    reading,
    whole,
    word,
)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("-5", 0),
        ("1.5", 1.5),
        ("1e99", MAX_RETRY_AFTER_S),
        ("inf", MAX_RETRY_AFTER_S),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 9015 07:28:00 GMT", MAX_RETRY_AFTER_S),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00", None),
    ],
)
def test_retry_after_is_seconds_of_at_most_a_day_or_nothing(
    header: str, seconds: float | None
) -> None:
    assert _retry_after_s(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(minutes=10)
    seconds = _retry_after_s(format_datetime(later, usegmt=True))
    assert seconds is not None
    assert 500 < seconds <= 600


@pytest.mark.parametrize(
    "text", ["1e999999999", "1e-999999999", "1e99999999999999999999", "NaN", "x"]
)
def test_number_that_would_fill_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        number(text)


def test_word_is_a_text_at_a_path_or_nothing() -> None:
    data = {"errors": [{"code": "THROTTLED", "status": 1}]}
    assert word(data, "errors", 0, "code") == "THROTTLED"
    for path in (("errors", 1), ("errors", 0, "status"), ("errors", "code"), ("error", "code")):
        assert word(data, *path) == ""


def test_whole_takes_no_number_with_a_fraction_and_no_truth() -> None:
    assert whole(-3) == -3
    for value in (True, Decimal(3), "3", None):
        with pytest.raises(TypeError):
            whole(value)


@pytest.mark.parametrize("error", [KeyError, IndexError, TypeError, ValueError, ZeroDivisionError])
def test_what_goes_wrong_while_an_answer_is_read_is_a_bad_response(error: type[Exception]) -> None:
    with pytest.raises(BadResponse, match="Tally's answer has another form"), reading("Tally's"):
        raise error
