"""A finished day's revenue or visitors lie outside what is usual for its weekday."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms

from alerts.rules.base import Finding, RuleKind, Target, Verdict, clear, firing, unknown
from sites.models import MonitoredSite, SiteDay
from sites.platforms.money import to_units

VISITORS, REVENUE = "visitors", "revenue"
BELOW, ABOVE, BOTH = "below", "above", "both"
#: Makes the median absolute deviation of normally distributed values their standard deviation.
MAD_TO_SIGMA = 1.4826
#: Eight days that happen to be alike do not make the ninth extraordinary.
LEAST_SPREAD = 0.1


class Options(forms.Form):
    figure = forms.ChoiceField(
        choices=[(VISITORS, "visitors"), (REVENUE, "revenue, each currency on its own")],
        initial=VISITORS,
    )
    direction = forms.ChoiceField(
        choices=[(BELOW, "below"), (ABOVE, "above"), (BOTH, "below or above")], initial=BELOW
    )
    width = forms.FloatField(
        initial=3.5,
        min_value=0.5,
        max_value=20,
        help_text="How many robust standard deviations from the median are still usual.",
    )
    weeks = forms.IntegerField(
        label="Weeks to learn from", initial=8, min_value=4, max_value=52,
        help_text="The same weekday of so many weeks before is what is usual.",
    )  # fmt: skip
    least_days = forms.IntegerField(
        label="At least (days)",
        initial=4,
        min_value=3,
        max_value=52,
        help_text="With fewer of these days known it is not judged.",
    )
    settle_hours = forms.IntegerField(
        label="Wait after midnight (hours)",
        initial=3,
        min_value=0,
        max_value=20,
        help_text="Platforms still add to a day after it is over.",
    )

    def clean(self) -> dict[str, Any]:
        """Refuse to need more than is looked at."""
        cleaned = self.cleaned_data
        if cleaned.get("least_days", 0) > cleaned.get("weeks", math.inf):
            self.add_error(
                "least_days", "There is one such day a week, and it looks at fewer weeks."
            )
        return cleaned


@dataclass(frozen=True, kw_only=True)
class Band:
    """What is usual: the median of some days and a width around it."""

    median: float
    low: float
    high: float


def usual_band(values: Sequence[float], width: float) -> Band:
    """The median of the values and `width` robust standard deviations around it.

    values: at least one, of days alike.
    The deviation is the median absolute one, scaled; but at least a tenth of the median, and the
    square root of the median, which is what counts spread by chance alone.
    Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993), with a floor.
    """
    median = statistics.median(values)
    spread = MAD_TO_SIGMA * statistics.median(abs(value - median) for value in values)
    spread = max(spread, LEAST_SPREAD * abs(median), math.sqrt(abs(median)))
    return Band(median=median, low=median - width * spread, high=median + width * spread)


@dataclass(frozen=True, kw_only=True)
class Days:
    """The known days of a site by figure: 'visitors', or a currency with its minor units."""

    zone: ZoneInfo
    figures: Mapping[str, Mapping[date, int]]


class UsualBand(RuleKind[Days]):
    """Looks at the last finished day; one that is not known is not zero, and not judged."""

    key = "usual-band"
    name = "Outside the usual"
    description = "Revenue or visitors of a day are below or above what is usual for its weekday."
    Options = Options
    resolution = timedelta(hours=1)

    def lookback(self, options: Mapping[str, Any]) -> timedelta:
        return timedelta(weeks=options["weeks"], days=4)

    def read(
        self,
        options: Mapping[str, Any],
        sites: Sequence[MonitoredSite],
        begin: datetime,
        end: datetime,
    ) -> Mapping[Target, Days]:
        figures: dict[int, dict[str, dict[date, int]]] = {site.pk: {} for site in sites}
        column = "visitors" if options["figure"] == VISITORS else "revenue_minor"
        rows = SiteDay.objects.filter(
            site__in=list(figures), day__gte=begin.date(), day__lte=end.date()
        ).exclude(**{column: None})
        known: dict[int, list[date]] = {site.pk: [] for site in sites}
        for site_id, day, value in rows.order_by("day").values_list("site_id", "day", column):
            known[site_id].append(day)
            for name, number in value.items() if column == "revenue_minor" else [(column, value)]:
                figures[site_id].setdefault(name, {})[day] = number
        for site in sites:
            for by_day in figures[site.pk].values():
                # A day that is known and lacks a currency had none of it.
                for day in known[site.pk]:
                    by_day.setdefault(day, 0)
        return {
            Target(site_id=site.pk): Days(zone=ZoneInfo(site.timezone), figures=figures[site.pk])
            for site in sites
        }

    def judge(self, options: Mapping[str, Any], evidence: Days, now: datetime) -> Verdict:
        day = _last_day(evidence.zone, options["settle_hours"], now)
        verdicts = [
            _judge_day(name, values, day, options)
            for name, values in sorted(evidence.figures.items())
        ]
        for finding, combine in ((Finding.FIRING, firing), (Finding.CLEAR, clear)):
            reasons = [verdict.reason for verdict in verdicts if verdict.finding is finding]
            if reasons:
                return combine(" ".join(reasons))
        if verdicts:
            return unknown(verdicts[0].reason)
        return unknown(f"No figures of {options['figure']} are known of it.")


def _last_day(zone: ZoneInfo, settle_hours: int, now: datetime) -> date:
    """The last day that has been over for so long."""
    yesterday = now.astimezone(zone).date() - timedelta(days=1)
    over_at = datetime.combine(yesterday + timedelta(days=1), time(), zone)
    is_settled = now >= over_at.astimezone(UTC) + timedelta(hours=settle_hours)
    return yesterday if is_settled else yesterday - timedelta(days=1)


def _judge_day(
    name: str, values: Mapping[date, int], day: date, options: Mapping[str, Any]
) -> Verdict:
    if day not in values:
        return unknown(f"The {_named(name)} of {day:%a %d %b} are not known.")
    before = [day - timedelta(weeks=week) for week in range(1, options["weeks"] + 1)]
    usual = [float(values[other]) for other in before if other in values]
    if len(usual) < options["least_days"]:
        return unknown(
            f"Too little history to judge: {len(usual)} {day:%A}s are known, "
            f"{options['least_days']} are needed."
        )
    band, value = usual_band(usual, options["width"]), values[day]
    is_below = value < band.low and options["direction"] in (BELOW, BOTH)
    is_above = value > band.high and options["direction"] in (ABOVE, BOTH)
    words = (
        f"{_named(name).capitalize()} of {day:%a %d %b}: {_shown(name, value)}; usual are "
        f"{_shown(name, band.low)} to {_shown(name, band.high)}."
    )
    return firing(words) if is_below or is_above else clear(words)


def _named(name: str) -> str:
    return "visitors" if name == VISITORS else "figures of revenue"


def _shown(name: str, value: float) -> str:
    whole = round(value)
    return f"{whole:,}" if name == VISITORS else f"{to_units(whole, name):,} {name}"
