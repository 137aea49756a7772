"""A site sells nothing, although it usually does at this time of the week.

Sales in an hour are taken as Poisson distributed with the mean of that hour of the week. Then the
probability that all of the hours since the last sale stay without any is exp(-(sum of their means)).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.db.models import Min, Q, QuerySet

from alerts.rules.base import RuleKind, Target, Verdict, clear, firing, in_words, unknown
from sites.models import MonitoredSite, SiteHour

HOUR = timedelta(hours=1)
#: After a silence of so long, nothing is usual any more.
LONGEST_SILENCE = timedelta(weeks=4)
#: Of one hour of the week; with fewer its mean says too little, and the hour counts for nothing.
LEAST_OBSERVED = 2


class Options(forms.Form):
    probability = forms.FloatField(
        label="Less likely than",
        initial=0.001,
        min_value=1e-9,
        max_value=0.5,
        help_text="Fires when so long a time without a sale has a smaller probability than this. "
        "Expect up to 168 times this many false alarms a week.",
    )
    weeks = forms.IntegerField(
        label="Weeks to learn from",
        initial=8,
        min_value=3,
        max_value=52,
        help_text="Before the last sale; what is usual is the mean of each hour of the week in them.",
    )
    least_weeks = forms.IntegerField(
        label="At least (weeks)",
        initial=3,
        min_value=2,
        max_value=52,
        help_text="With less history it is not judged.",
    )

    def clean(self) -> dict[str, Any]:
        """Refuse to need more than is looked at."""
        cleaned = self.cleaned_data
        if cleaned.get("least_weeks", 0) > cleaned.get("weeks", math.inf):
            self.add_error("least_weeks", "It learns from fewer weeks than that.")
        return cleaned


@dataclass
class Bucket:
    """One hour of the week. times: of the hours whose sales are known, in order. sums: the sales up to
    and with each.
    """

    times: list[datetime] = field(default_factory=list)
    sums: list[int] = field(default_factory=list)

    def add(self, begins_at: datetime, sales: int) -> None:
        self.times.append(begins_at)
        self.sums.append((self.sums[-1] if self.sums else 0) + sales)

    def mean(self, begin: datetime, end: datetime) -> float | None:
        """Of the sales in [begin, end); None where too few hours are known. A gap is not a zero."""
        first, last = bisect_left(self.times, begin), bisect_left(self.times, end)
        if last - first < LEAST_OBSERVED:
            return None
        before = self.sums[first - 1] if first else 0
        return (self.sums[last - 1] - before) / (last - first)


class SalesHours:
    """The hours of a site whose sales are known, and what is usual for each hour of its week."""

    def __init__(self, zone: ZoneInfo, hours: Iterable[tuple[datetime, int]]) -> None:
        """hours: (begin, sales), in order; those that are not known are left out."""
        self._zone = zone
        self._buckets = [Bucket() for _ in range(7 * 24)]
        self.times: list[datetime] = []
        self.selling: list[datetime] = []
        for begins_at, sales in hours:
            self.times.append(begins_at)
            self._bucket(begins_at).add(begins_at, max(sales, 0))
            if sales > 0:
                self.selling.append(begins_at)

    def _bucket(self, moment: datetime) -> Bucket:
        local = moment.astimezone(self._zone)
        return self._buckets[local.weekday() * 24 + local.hour]

    def last_sale(self, now: datetime) -> datetime | None:
        """The last hour with a sale that had begun before `now`."""
        count = bisect_left(self.selling, now)
        return self.selling[count - 1] if count else None

    def silent(self, last_sale: datetime, now: datetime) -> Sequence[datetime]:
        """The hours after one that are over and whose sales are known."""
        first = bisect_right(self.times, last_sale)
        return self.times[first : bisect_right(self.times, now - HOUR)]

    def expected(self, hours: Iterable[datetime], begin: datetime, end: datetime) -> float:
        """How many sales these hours usually have, by what is known of [begin, end).

        An hour of the week of which too little is known adds nothing.
        """
        means = (self._bucket(hour).mean(begin, end) for hour in hours)
        return math.fsum(mean for mean in means if mean is not None)

    def known_since(self, begin: datetime) -> datetime | None:
        """The first known hour from `begin` on."""
        first = bisect_left(self.times, begin)
        return self.times[first] if first < len(self.times) else None


class NoSales(RuleKind[SalesHours]):
    """Looks at the hours since the last sale."""

    key = "no-sales"
    name = "No sales"
    description = "A site sells nothing although it usually does at this time of the week."
    Options = Options
    resolution = HOUR

    def lookback(self, options: Mapping[str, Any]) -> timedelta:
        return timedelta(weeks=options["weeks"]) + LONGEST_SILENCE

    def read(
        self,
        options: Mapping[str, Any],
        sites: Sequence[MonitoredSite],
        begin: datetime,
        end: datetime,
    ) -> Mapping[Target, SalesHours]:
        hours: dict[int, list[tuple[datetime, int]]] = {site.pk: [] for site in sites}
        known = SiteHour.objects.filter(
            site__in=list(hours), begins_at__lte=end, sales__isnull=False
        ).order_by("begins_at")
        wanted = Q(begins_at__gte=begin)
        if end - begin == self.lookback(options):
            # Judged at one instant alone, a site that has just sold needs that sale and the beginning
            # of its history. To read all of it would be the better part of an evaluation.
            recent = Q(begins_at__gt=end - 2 * HOUR)
            selling = set(
                known.filter(recent, sales__gt=0).order_by().values_list("site", flat=True)
            )
            wanted = (wanted & ~Q(site__in=selling)) | recent
            for site_id, first in _first_hours(
                known, selling, end - timedelta(weeks=options["weeks"])
            ):
                if first <= end - 2 * HOUR:
                    hours[site_id].append((first, 0))
        rows = known.filter(wanted)
        for site_id, begins_at, sales in rows.values_list("site_id", "begins_at", "sales").iterator(
            chunk_size=10_000
        ):
            hours[site_id].append((begins_at, sales or 0))  # None was left out above.
        return {
            Target(site_id=site.pk): SalesHours(ZoneInfo(site.timezone), hours[site.pk])
            for site in sites
        }

    def judge(self, options: Mapping[str, Any], evidence: SalesHours, now: datetime) -> Verdict:
        last = evidence.last_sale(now)
        if last is None or now - last > LONGEST_SILENCE:
            return unknown(f"No sale within {in_words(LONGEST_SILENCE)}, so none is usual.")
        silent = evidence.silent(last, now)
        end = last + HOUR
        begin = end - timedelta(weeks=options["weeks"])
        since = evidence.known_since(begin)
        if since is None or end - since < timedelta(weeks=options["least_weeks"]):
            known = in_words(end - since) if since else "none"
            return unknown(
                f"Too little history to judge: {options['least_weeks']} weeks are needed, "
                f"there are {known}."
            )
        if not silent:
            return clear(f"The last sale is of {last:%d %b %H:%M} UTC, and no hour is known since.")
        expected = evidence.expected(silent, begin, end)
        probability = math.exp(-expected)
        words = (
            f"No sale in the {len(silent)} hours known since {last:%d %b %H:%M} UTC, where "
            f"{expected:.1f} are usual; the probability of that is {probability:.2g}."
        )
        return firing(words) if probability < options["probability"] else clear(words)


def _first_hours(
    known: QuerySet[SiteHour], site_ids: Collection[int], begin: datetime
) -> Iterable[tuple[int, datetime]]:
    """The first known hour of each site from begin on."""
    found = known.filter(site__in=site_ids, begins_at__gte=begin).order_by()
    return found.values_list("site").annotate(first=Min("begins_at"))
