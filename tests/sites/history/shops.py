"""A platform that knows the past, as a test tells it to."""

from datetime import timedelta
from typing import Any

from sites.models import MonitoredSite
from sites.outbound import Client
from sites.platforms.base import FetchRequest, Figures, Health, PlatformError, Snapshot
from tests.sites.scripted import Scripted


class WithPast(Scripted):
    """Remembers how many days it was asked for, and sells one thing more each day.

    longest_answered: asked for more days it fails.
    """

    key = "with_past"
    name = "With a past"
    longest_past_days = 90

    def __init__(self, error: PlatformError | None = None, longest_answered: int = 1000) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.error = error
        self.longest_answered = longest_answered

    async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
        self.asked.append(request.past_days)
        if self.error and request.past_days > self.longest_answered:
            raise self.error
        days = {
            request.today - timedelta(days=number): Figures(
                visitors=None, sales=number, revenue_minor={"EUR": 100 * number}
            )
            for number in range(request.past_days + 1)
        }
        return Snapshot(taken_at=request.now, health=Health.UP, days=days)


def add_shop(name: str = "shop", **fields: Any) -> MonitoredSite:
    options = {"fetch": "it"}
    return MonitoredSite.objects.create(name=name, platform="with_past", options=options, **fields)
