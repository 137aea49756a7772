"""A made-up year of the demo sites, so that a new installation has a history to look at.

It is the same each time. The hours are made, and each day is what its hours come to; like a real
history it has odd days, outages and gaps. Its days say of themselves that they are made up.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby

from sites.history.latency import count, merged
from sites.history.reading import summarise
from sites.models import MonitoredSite, SiteDay, SiteHour
from soloboard.demo import so_far, visitors_of

#: The name of the metric that marks a day.
MADE_UP = "made_up"
DAYS = 365
#: Hours are kept for so many of them.
DAYS_WITH_HOURS = 84
ATTEMPTS_AN_HOUR = 4
#: A year ago the shop had this share of its visitors.
FIRST_SHARE = 0.35
#: What was unusual, by the number of days ago: a launch, a mention in the press, holidays.
ODD_DAYS = {200: 3.0, 41: 2.4, 99: 0.4, 98: 0.3, 97: 0.4, 96: 0.5}
#: Nobody looked on these days, and not in these hours of this day.
GAPS = (17, 130, 131, 132)
SHORT_GAP = (9, range(2, 10))
#: The page was down in these hours.
OUTAGES = {23: range(13, 16), 160: range(4, 5), 258: range(20, 24)}
SLOW_DAY = 60

#: Makes the hour that begins then, so many days ago.
MakeHour = Callable[[datetime, int], SiteHour]


def write(page: MonitoredSite, shop: MonitoredSite, now: datetime) -> None:
    """Store the year before now of both sites, whose days are those of UTC. What is known already
    stays.
    """
    for site, make in ((page, _page_hour), (shop, _shop_hour)):
        hours = list(_hours(make, now))
        for hour in hours:
            hour.site = site
        first_kept = now - timedelta(days=DAYS_WITH_HOURS)
        kept = [hour for hour in hours if hour.begins_at >= first_kept]
        SiteHour.objects.bulk_create(kept, ignore_conflicts=True)
        days = [_day(site, day, list(of_day)) for day, of_day in groupby(hours, key=_day_of)]
        SiteDay.objects.bulk_create(
            (day for day in days if day.day < now.astimezone(UTC).date()), ignore_conflicts=True
        )


def _hours(make: MakeHour, now: datetime) -> Iterator[SiteHour]:
    """Every hour that was over, the oldest first."""
    today = now.astimezone(UTC).date()
    for age in range(DAYS, -1, -1):
        begin = datetime.combine(today - timedelta(days=age), time(), UTC)
        for number in range(24):
            begins_at = begin + timedelta(hours=number)
            unseen = age in GAPS or (age == SHORT_GAP[0] and number in SHORT_GAP[1])
            if not unseen and begins_at + timedelta(hours=1) <= now:
                yield make(begins_at, age)


def _page_hour(begins_at: datetime, age: int) -> SiteHour:
    luck = random.Random(age * 24 + begins_at.hour)  # noqa: S311 - a made-up page
    down = ATTEMPTS_AN_HOUR if begins_at.hour in OUTAGES.get(age, ()) else 0
    return _measured(begins_at, luck, down, usual_ms=70.0 if age == SLOW_DAY else 12.0)


def _shop_hour(begins_at: datetime, age: int) -> SiteHour:
    luck = random.Random(-age * 24 - begins_at.hour)  # noqa: S311 - a made-up shop
    hour = _measured(begins_at, luck, 0, usual_ms=45.0)
    visitors = _visitors(begins_at.date(), age)
    earlier = so_far(visitors, begins_at.hour / 24)
    later = so_far(visitors, (begins_at.hour + 1) / 24)
    hour.visitors, hour.sales = later[0] - earlier[0], later[1] - earlier[1]
    hour.revenue_minor = {name: minor - earlier[2][name] for name, minor in later[2].items()}
    return hour


def _visitors(day: date, age: int) -> float:
    growth = FIRST_SHARE + (1 - FIRST_SHARE) * (1 - age / DAYS)
    luck = random.Random(age).uniform(0.86, 1.14) if age else 1.0  # noqa: S311
    return visitors_of(day) * growth * luck * ODD_DAYS.get(age, 1.0)


def _measured(begins_at: datetime, luck: random.Random, down: int, usual_ms: float) -> SiteHour:
    good = ATTEMPTS_AN_HOUR - down
    return SiteHour(
        begins_at=begins_at,
        attempts=ATTEMPTS_AN_HOUR,
        good=good,
        down=down,
        latency_counts=count(usual_ms * luck.lognormvariate(0, 0.35) for _ in range(good)),
    )


def _day_of(hour: SiteHour) -> date:
    return hour.begins_at.date()


def _day(site: MonitoredSite, day: date, hours: list[SiteHour]) -> SiteDay:
    found = summarise(hours)
    knows_revenue = any(hour.revenue_minor is not None for hour in hours)
    return SiteDay(
        site=site,
        day=day,
        attempts=sum(hour.attempts for hour in hours),
        good=sum(hour.good for hour in hours),
        down=sum(hour.down for hour in hours),
        latency_counts=merged(hour.latency_counts for hour in hours),
        visitors=found.visitors,
        sales=found.sales,
        revenue_minor=found.revenue_minor if knows_revenue else None,
        metrics={MADE_UP: {"value": 1, "unit": ""}},
        settled=True,
    )
