import math

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from sites.history.latency import (
    BUCKET_SQL,
    PRECISION,
    bucket_of,
    count,
    latencies_ms,
    merged,
    percentile,
)

latencies = st.integers(0, 600_000)


@given(st.lists(st.lists(latencies, max_size=20), max_size=8))
def test_merging_is_the_same_as_counting_everything_at_once(parts: list[list[int]]) -> None:
    everything = [latency_ms for part in parts for latency_ms in part]
    assert merged(map(count, parts)) == count(everything)


@given(st.lists(latencies))
def test_each_latency_is_given_back_as_near_as_is_stated(measured: list[int]) -> None:
    found = latencies_ms(count(measured))
    assert len(found) == len(measured)
    for near, exact in zip(found, sorted(measured), strict=True):
        assert abs(near - max(exact, 1)) <= PRECISION * max(exact, 1) + 0.5


@given(st.lists(latencies, min_size=1), st.sampled_from([1, 50, 95, 99, 99.9, 100]))
def test_a_percentile_is_as_near_to_the_measured_one_as_is_stated(
    measured: list[int], percent: float
) -> None:
    exact = sorted(measured)[math.ceil(len(measured) * percent / 100) - 1]
    found = percentile(count(measured), percent)
    assert found is not None
    # What is below a millisecond counts as one, and answers are whole milliseconds.
    assert abs(found - max(exact, 1)) <= PRECISION * exact + 0.5 + 1e-6


@given(st.lists(latencies, min_size=1))
def test_percentiles_rise(measured: list[int]) -> None:
    counts = count(measured)
    found = [percentile(counts, percent) or 0 for percent in (1, 50, 95, 99, 100)]
    assert found == sorted(found)


def test_nothing_measured_has_no_percentile() -> None:
    assert percentile({}, 50) is None


@pytest.mark.django_db
def test_the_database_chooses_the_same_buckets() -> None:
    values = [*range(5000), *(10**exponent for exponent in range(4, 10)), 599_999]
    bucket = BUCKET_SQL.format(latency_ms="value::float8")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT value, {bucket} FROM unnest(%s::bigint[]) AS value",  # noqa: S608
            [values],
        )
        assert dict(cursor.fetchall()) == {value: bucket_of(value) for value in values}
