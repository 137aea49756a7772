"""The points of sites in a time, for the rules that look at each of them."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.db.models import QuerySet

from alerts.rules.base import Target
from sites.models import MonitoredSite, SiteSnapshot

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Points(Generic[Value]):
    """times: in order. values: one for each."""

    times: Sequence[datetime]
    values: Sequence[Value]

    def count_until(self, now: datetime) -> int:
        """How many were there at an instant."""
        return bisect_right(self.times, now)


def points_of(
    sites: Sequence[MonitoredSite], begin: datetime, end: datetime
) -> "QuerySet[SiteSnapshot]":
    """The points of all these sites, in order; one query."""
    ids = [site.pk for site in sites]
    found = SiteSnapshot.objects.filter(site__in=ids, taken_at__gte=begin, taken_at__lte=end)
    return found.order_by("taken_at", "pk")


def by_site(
    sites: Sequence[MonitoredSite],
    rows: "QuerySet[Any, tuple[Any, ...]]",
    value_of: Callable[[tuple[Any, ...]], Value | None],
) -> Mapping[Target, Points[Value]]:
    """Group rows of (site, time, …); those whose value is None are left out."""
    times: dict[int, list[datetime]] = {site.pk: [] for site in sites}
    values: dict[int, list[Value]] = {site.pk: [] for site in sites}
    for row in rows.iterator(chunk_size=5_000):
        value = value_of(row[2:])
        if value is not None:
            times[row[0]].append(row[1])
            values[row[0]].append(value)
    return {
        Target(site_id=site.pk): Points(times=times[site.pk], values=values[site.pk])
        for site in sites
    }
