"""The points of sites in a time, for the rules that look at each of them."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db.models import QuerySet

from alerts.rules.base import Target
from sites.history.retention import POINTS_KEPT_FOR
from sites.models import MonitoredSite, SiteHour, SiteSnapshot

Value = TypeVar("Value")

HOUR = timedelta(hours=1)


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


def with_hours(
    points: Mapping[Target, Points[Value]],
    begin: datetime,
    end: datetime,
    values_of: Callable[[SiteHour, Value | None], Sequence[Value]],
) -> Mapping[Target, Points[Value]]:
    """Put what the hours tell in front of the points, which are kept for a few days only.

    An hour tells how many attempts came to what, and not when; they are spread evenly over it.
    values_of: the values of an hour in the order to assume, given the last one before it.
    """
    if end - begin <= POINTS_KEPT_FOR:
        return points
    earlier: dict[Target, tuple[list[datetime], list[Value]]] = {
        target: ([], []) for target in points
    }
    ids = [target.site_id for target in points]
    hours = SiteHour.objects.filter(site__in=ids, begins_at__gte=begin, begins_at__lte=end - HOUR)
    for hour in hours.order_by("begins_at").iterator(chunk_size=5_000):
        target = Target(site_id=hour.site_id)
        if points[target].times and hour.begins_at + HOUR > points[target].times[0]:
            continue
        times, values = earlier[target]
        of_hour = values_of(hour, values[-1] if values else None)
        times += [
            hour.begins_at + HOUR * (number + 0.5) / len(of_hour) for number in range(len(of_hour))
        ]
        values += of_hour
    return {
        target: Points(
            times=[*earlier[target][0], *found.times], values=[*earlier[target][1], *found.values]
        )
        for target, found in points.items()
    }
