"""Points of a made-up site, and the roll-up over all sites."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sites.attempts import State
from sites.history.rollup import behind, roll_up
from sites.models import MonitoredSite, SiteDay, SiteHour, SiteSnapshot

QUARTER = timedelta(minutes=15)


def shop(**fields: Any) -> MonitoredSite:
    return MonitoredSite.objects.create(**{"name": "shop", "platform": "custom_json", **fields})


def at(text: str) -> datetime:
    """A time of UTC: '2026-03-04 12:05'."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def point(site: MonitoredSite, taken_at: datetime, **data: Any) -> SiteSnapshot:
    """A good point, with what it found beside that."""
    return SiteSnapshot.objects.create(
        site=site,
        taken_at=taken_at,
        state=State.UP,
        data={"visitors": None, "sales": None, "revenue_minor": {}, "metrics": {}, **data},
    )


def failed(site: MonitoredSite, taken_at: datetime, state: State = State.UNAVAILABLE) -> None:
    SiteSnapshot.objects.create(site=site, taken_at=taken_at, state=state, data=None)


def roll_up_all() -> None:
    site_ids = list(MonitoredSite.objects.values_list("pk", flat=True))
    roll_up(site_ids)
    while left := behind(site_ids):
        roll_up(left)


def hour(site: MonitoredSite, begins_at: str) -> SiteHour:
    return SiteHour.objects.get(site=site, begins_at=at(begins_at))


def day(site: MonitoredSite, text: str) -> SiteDay:
    return SiteDay.objects.get(site=site, day=text)


def rows() -> list[dict[str, Any]]:
    """Everything that was rolled up, without the numbers of the rows."""
    found = [*SiteHour.objects.order_by("pk").values(), *SiteDay.objects.order_by("pk").values()]
    return [{name: value for name, value in row.items() if name != "id"} for row in found]
