from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sites.platforms.json_api import MAX_RETRY_AFTER_S, _retry_after_s, number


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
