"""What the history of a site says: its days without holes, uptime, percentiles, totals."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sites.history.latency import merged, percentile
from sites.models import MonitoredSite, SiteDay
from sites.models.history import Period

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A day of a site. found: None for a gap, a day of which nothing is known."""

    day: date
    found: SiteDay | None

    @property
    def uptime_percent(self) -> float | None:
        return uptime_percent(self.found.good, self.found.down) if self.found else None

    @property
    def visitors(self) -> int | None:
        return self.found.visitors if self.found else None

    @property
    def sales(self) -> int | None:
        return self.found.sales if self.found else None

    def latency_ms(self, percent: float) -> int | None:
        return percentile(self.found.latency_counts, percent) if self.found else None

    def revenue_minor(self, currency: str) -> int | None:
        """Zero where revenue is known and there was none in this currency."""
        if self.found is None or self.found.revenue_minor is None:
            return None
        amount: int = self.found.revenue_minor.get(currency, 0)
        return amount


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What periods come to together. None where not a single one knows.

    latency_ms: by percentile.
    revenue_minor: by currency.
    """

    uptime_percent: float | None
    latency_ms: dict[int, int | None]
    visitors: int | None
    sales: int | None
    revenue_minor: dict[str, int]


def last_days(site: MonitoredSite, count: int, now: datetime) -> list[Entry]:
    """The days of a site up to its current one, the oldest first, gaps included; one query.

    count: >= 1.
    """
    today = now.astimezone(zone_of(site)).date()
    days = [today - timedelta(days=number) for number in reversed(range(count))]
    found = {entry.day: entry for entry in SiteDay.objects.filter(site=site, day__gte=days[0])}
    return [Entry(day=day, found=found.get(day)) for day in days]


def summarise(periods: Sequence[Period]) -> Summary:
    """Add up what periods of one site found."""
    counts = merged(period.latency_counts for period in periods)
    revenue_minor: Counter[str] = Counter()
    for period in periods:
        revenue_minor.update(period.revenue_minor or {})
    return Summary(
        uptime_percent=uptime_percent(
            sum(period.good for period in periods), sum(period.down for period in periods)
        ),
        latency_ms={percent: percentile(counts, percent) for percent in PERCENTILES},
        visitors=_sum(period.visitors for period in periods),
        sales=_sum(period.sales for period in periods),
        revenue_minor=dict(sorted(revenue_minor.items())),
    )


def uptime_percent(good: int, down: int) -> float | None:
    """The share of the measurements that found the site up, in percent.

    Rounded down, so that 100 means that it was never down; None without any measurement.
    """
    measured = good + down
    return good * 100_000 // measured / 1000 if measured else None


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def zone_of(site: MonitoredSite) -> ZoneInfo:
    """The zone of its days; UTC when its own has gone, as the roll-up takes it."""
    try:
        return ZoneInfo(site.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
