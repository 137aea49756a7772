"""A site is down for some minutes."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.db.models import Q

from alerts.rules.base import RuleKind, Target, Verdict, clear, firing, in_words, unknown
from alerts.rules.points import Points, by_site, points_of, with_hours
from sites.models import STALE_AFTER, Incident, MonitoredSite, SiteHour

State = MonitoredSite.State

#: Says nothing about the site.
OFFLINE = State.OFFLINE
GOOD = (State.UP, State.SLOW)


class Options(forms.Form):
    minutes = forms.IntegerField(
        initial=10,
        min_value=0,
        max_value=7 * 24 * 60,
        help_text="Found down at first, and never up again for so long. 0 fires at once.",
    )
    any_failure = forms.BooleanField(
        label="Whatever the failure",
        initial=False,
        required=False,
        help_text="Also when it cannot be measured at all: credentials refused, platform unavailable, "
        "settings that cannot work.",
    )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """points: the states and their reasons. away: when our own network was away, in order."""

    points: Points[tuple[str, str]]
    away: Sequence[tuple[datetime, datetime | None]]

    def is_network_away(self, now: datetime) -> bool:
        began = bisect_right(self.away, now, key=lambda period: period[0])
        return any(end is None or end > now for _, end in self.away[:began])


class Down(RuleKind[Evidence]):
    """Looks at every point. Points from when our own network was away count for nothing."""

    key = "down"
    name = "Down"
    description = "A site is down for some minutes."
    Options = Options

    def lookback(self, options: Mapping[str, Any]) -> timedelta:
        # A site that is down is looked at every few minutes; with nothing for longer than this, it
        # is not known how it is.
        return timedelta(minutes=options["minutes"]) + 2 * STALE_AFTER

    def read(
        self,
        options: Mapping[str, Any],
        sites: Sequence[MonitoredSite],
        begin: datetime,
        end: datetime,
    ) -> Mapping[Target, Evidence]:
        rows = points_of(sites, begin, end).values_list("site_id", "taken_at", "state", "reason")
        points = by_site(sites, rows, lambda row: None if row[0] == OFFLINE else (row[0], row[1]))
        points = with_hours(points, begin, end, _states_of)
        away = list(
            Incident.objects.filter(Q(closed_at=None) | Q(closed_at__gte=begin), site=None)
            .order_by("opened_at")
            .values_list("opened_at", "closed_at")
        )
        return {target: Evidence(points=found, away=away) for target, found in points.items()}

    def judge(self, options: Mapping[str, Any], evidence: Evidence, now: datetime) -> Verdict:
        if evidence.is_network_away(now):
            return unknown("Our own network is away, so nothing is known about any site.")
        points = evidence.points
        count = points.count_until(now)
        if not count:
            return unknown("It has not been looked at of late.")
        state, reason = points.values[count - 1]
        if state in GOOD:
            return clear(f"It is {State(state).label}.")
        if not _counts(state, options):
            return unknown(f"It could not be measured: {State(state).label}.")
        if now - points.times[count - 1] > STALE_AFTER:
            return unknown(f"It was last looked at {in_words(now - points.times[count - 1])} ago.")
        since = _bad_since(points, count)
        lasted, limit = now - since, timedelta(minutes=options["minutes"])
        words = f"{State(state).label} for {in_words(lasted)}"
        if lasted < limit:
            return clear(f"It is {words}, which is less than {in_words(limit)}.")
        return firing(f"{words[0].upper()}{words[1:]}. {reason}".strip())


def _states_of(hour: SiteHour, last: tuple[str, str] | None) -> list[tuple[str, str]]:
    """The attempts of an hour as if the failures had come in one stretch: at its beginning where the
    hour before ended with one, else at its end.
    """
    unmeasured = hour.attempts - hour.good - hour.down
    bad = [(str(State.DOWN), "")] * hour.down + [(str(State.UNAVAILABLE), "")] * unmeasured
    good = [(str(State.UP), "")] * hour.good
    return bad[::-1] + good if last and last[0] not in GOOD else good + bad


def _counts(state: str, options: Mapping[str, Any]) -> bool:
    return state == State.DOWN or (options["any_failure"] and state not in (*GOOD, State.NEW))


def _bad_since(points: Points[tuple[str, str]], count: int) -> datetime:
    """The first of the points without a good one in between, of those that are known."""
    first = count - 1
    while first > 0 and points.values[first - 1][0] not in GOOD:
        first -= 1
    return points.times[first]
