from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.rules import RULES
from alerts.rules.base import in_words, nearest_rank


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(hours=2, minutes=5), "2 hours 5 minutes"),
        (timedelta(days=1, hours=3, minutes=5), "1 day 3 hours"),
        (timedelta(days=21), "21 days"),
    ],
)
def test_durations_are_told_in_two_units_at_the_most(duration: timedelta, words: str) -> None:
    assert in_words(duration) == words


@given(values=st.lists(st.integers(0, 1000), min_size=1), percent=st.integers(1, 100))
def test_so_many_values_do_not_exceed_the_percentile_and_no_smaller_one_will_do(
    values: list[int], percent: int
) -> None:
    found = nearest_rank(values, percent / 100)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9
    assert sum(value < found for value in values) < percent / 100 * len(values) + 1e-9


@pytest.mark.parametrize("kind", RULES.values(), ids=RULES)
def test_the_defaults_of_each_kind_are_accepted_by_its_form(kind: object) -> None:
    options = kind.options({})  # type: ignore[attr-defined]
    form = kind.Options(options)  # type: ignore[attr-defined]
    assert form.is_valid(), form.errors
    assert form.cleaned_data == options
