"""A site answers slower than it should."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.db.models.fields.json import KT

from alerts.rules.base import (
    RuleKind,
    Target,
    Verdict,
    clear,
    firing,
    in_words,
    nearest_rank,
    unknown,
)
from alerts.rules.points import Points, by_site, points_of, with_hours
from sites.history.latency import latencies_ms
from sites.models import MonitoredSite, SiteHour

P95, MEDIAN, LATEST = "p95", "median", "latest"
SHARES = {P95: 0.95, MEDIAN: 0.5}


class Options(forms.Form):
    limit_ms = forms.IntegerField(label="Slower than (ms)", initial=2000, min_value=1)
    statistic = forms.ChoiceField(
        choices=[
            (MEDIAN, "half of the answers"),
            (P95, "the slowest 5 % of the answers (p95)"),
            (LATEST, "the latest answer"),
        ],
        initial=MEDIAN,
        help_text="What must be slower. With fewer than 20 answers, p95 is the slowest of them.",
    )
    minutes = forms.IntegerField(
        label="Over the last (minutes)", initial=60, min_value=5, max_value=7 * 24 * 60
    )
    least_answers = forms.IntegerField(
        label="At least (answers)",
        initial=3,
        min_value=1,
        help_text="With fewer in that time it is not judged. Without meaning for the latest answer.",
    )


class Slow(RuleKind[Points[int]]):
    """Looks at the latency of every point of a window; failed attempts have none."""

    key = "slow"
    name = "Slow"
    description = "A site answers slower than so many milliseconds."
    Options = Options

    def lookback(self, options: Mapping[str, Any]) -> timedelta:
        return timedelta(minutes=options["minutes"])

    def read(
        self,
        options: Mapping[str, Any],
        sites: Sequence[MonitoredSite],
        begin: datetime,
        end: datetime,
    ) -> Mapping[Target, Points[int]]:
        found = points_of(sites, begin, end).annotate(latency_ms=KT("data__latency_ms"))
        rows = found.values_list("site_id", "taken_at", "latency_ms")
        points = by_site(sites, rows, lambda row: None if row[0] is None else int(row[0]))
        return with_hours(points, begin, end, _latencies_ms_of)

    def judge(self, options: Mapping[str, Any], evidence: Points[int], now: datetime) -> Verdict:
        window, statistic = timedelta(minutes=options["minutes"]), options["statistic"]
        end = evidence.count_until(now)
        begin = evidence.count_until(now - window)
        latencies_ms = evidence.values[begin:end]
        least = 1 if statistic == LATEST else options["least_answers"]
        if len(latencies_ms) < least:
            return unknown(
                f"{len(latencies_ms)} answers in {in_words(window)} are too few to judge; "
                f"{least} are needed."
            )
        if statistic == LATEST:
            found, what = latencies_ms[-1], "The latest answer"
        else:
            found = int(nearest_rank(latencies_ms, SHARES[statistic]))
            what = f"The {statistic} of {len(latencies_ms)} answers in {in_words(window)}"
        words = f"{what} took {found} ms; the limit is {options['limit_ms']} ms."
        return firing(words) if found > options["limit_ms"] else clear(words)


def _latencies_ms_of(hour: SiteHour, last: int | None) -> list[int]:
    """In an order that gives every part of the hour its share of slow answers."""
    ascending = latencies_ms(hour.latency_counts)
    return ascending[::2] + ascending[1::2][::-1]
