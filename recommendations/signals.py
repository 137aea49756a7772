"""How much each item is liked, by all and of late, counted by PostgreSQL from all actions.

It moves no factor, so it can be done as often as one likes. The counts are those of
core.trending.popularity and core.trending.trend.
"""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from recommendations.core.parameters import Parameters
from recommendations.models import FactorVersion, ItemSignal

# After so many half-lives nothing is left, and power() refuses much smaller numbers.
MOST_HALF_LIVES = 1000
# Any number; it is what two refreshes at the same time agree on.
LOCK = 7_301_550

REFRESH = """
    INSERT INTO item_signals (item_id, popularity, trend, trending, refreshed_at)
    SELECT item_id,
           count(DISTINCT user_id),
           sum(power(0.5, least(age_s / %(trend_s)s, %(most)s))),
           sum(power(0.5, least(age_s / %(trending_s)s, %(most)s))),
           %(at)s
    FROM (
        SELECT item_id, user_id, extract(epoch FROM %(at)s - occurred_at)::float8 AS age_s
        FROM user_actions
        WHERE action = ANY(%(likings)s) AND occurred_at <= %(at)s
    ) AS likings
    GROUP BY item_id
    ON CONFLICT (item_id) DO UPDATE SET
        popularity = excluded.popularity, trend = excluded.trend,
        trending = excluded.trending, refreshed_at = excluded.refreshed_at
"""


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """at: the present of the counts. items: how many have any."""

    at: datetime
    items: int


def likings() -> list[str]:
    """The kinds of actions that say that somebody likes an item."""
    return sorted(kind for kind, weight in settings.ACTION_WEIGHTS.items() if weight > 0)


def active_parameters() -> Parameters:
    """Those of the active version, or the defaults before there is any."""
    active = FactorVersion.objects.filter(status=FactorVersion.Status.ACTIVE)
    stored = active.values_list("parameters", flat=True).first()
    return Parameters.from_json(stored or {})


def refresh(parameters: Parameters | None = None) -> Refreshed:
    """Count everything again. Readers see the old counts until all the new ones are there."""
    parameters = parameters or active_parameters()
    with transaction.atomic(), connection.cursor() as cursor:
        # Two at once would wait for each other's rows in different orders.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        at = timezone.now()
        cursor.execute(
            REFRESH,
            {
                "at": at,
                "likings": likings(),
                "trend_s": parameters.score.trend_half_life_s,
                "trending_s": parameters.trending_half_life_s,
                "most": MOST_HALF_LIVES,
            },
        )
        items = cursor.rowcount
        ItemSignal.objects.filter(refreshed_at__lt=at).delete()
    return Refreshed(at=at, items=items)


def refreshed_at() -> datetime | None:
    """The present of the counts; None before the first refresh, and when nobody did anything."""
    return ItemSignal.objects.values_list("refreshed_at", flat=True).first()
