"""Latencies as a histogram that can be added up, and percentiles read from it.

The buckets grow by a constant factor, so that every value is known to the same relative precision
whatever its size, and two histograms are merged by adding their counts: the percentiles of a year
come from its days, which no average of percentiles would give. Source: Masson, Rim and Lee,
'DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees' (2019).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

#: How far a percentile may be from the latency that was measured, as a share of it.
PRECISION = 0.05
#: Bucket n holds what is above GROWTH ** (n - 1) and at most GROWTH ** n milliseconds. Bucket 0 is
#: the lowest and also holds what is below 1 ms.
GROWTH = (1 + PRECISION) / (1 - PRECISION)

#: As the database holds them: how many latencies, by the number of their bucket.
LatencyCounts = Mapping[str, int]

#: The bucket of a latency in milliseconds, in SQL.
BUCKET_SQL = f"ceil(ln(greatest({{latency_ms}}, 1)) / {math.log(GROWTH)!r})::integer"


def bucket_of(latency_ms: float) -> int:
    """The number of the bucket that holds a latency."""
    return math.ceil(math.log(max(latency_ms, 1)) / math.log(GROWTH))


def count(latencies_ms: Iterable[float]) -> dict[str, int]:
    """The histogram of some latencies."""
    return dict(Counter(str(bucket_of(latency_ms)) for latency_ms in latencies_ms))


def merged(histograms: Iterable[LatencyCounts]) -> dict[str, int]:
    """The histogram of everything that these were made of."""
    sums: Counter[str] = Counter()
    for counts in histograms:
        sums.update(counts)
    return dict(sums)


def percentile(counts: LatencyCounts, percent: float) -> int | None:
    """The latency in milliseconds that this share of the measurements does not exceed.

    percent: 0 < percent <= 100. Of n measurements it is the one at place ceil(n * percent / 100),
        within PRECISION and half a millisecond.
    None without any measurement.
    """
    total = sum(counts.values())
    rank = math.ceil(total * percent / 100)
    seen = 0
    for bucket, number in sorted((int(bucket), number) for bucket, number in counts.items()):
        seen += number
        if seen >= rank:
            return round(_latency_ms_of(bucket))
    return None


def latencies_ms(counts: LatencyCounts) -> list[int]:
    """What a histogram was made of, ascending, each within PRECISION and half a millisecond."""
    return sorted(
        round(_latency_ms_of(int(bucket)))
        for bucket, number in counts.items()
        for _ in range(number)
    )


def _latency_ms_of(bucket: int) -> float:
    # Neither end of the bucket is further from it than PRECISION.
    return max(1.0, 2 * GROWTH**bucket / (1 + GROWTH))
