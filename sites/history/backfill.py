"""Fetching the past of sites on demand; a new site's comes with its first sync."""

import time
from collections.abc import Iterator, Sequence

from django.db import transaction

from sites.attempts import FIRST_PAST_DAYS, Attempt
from sites.fetching import Fetcher
from sites.history import days
from sites.models import MonitoredSite
from sites.platforms import PLATFORMS

#: For one site: a year of a busy shop is many pages.
PAST_LIMIT_S = 900.0
#: For all of them; near it no further one is begun.
DURATION_LIMIT_S = 24 * 3600.0


def longest_past_days(site: MonitoredSite) -> int:
    """How much of its past the site's platform can give; 0 for none."""
    platform = PLATFORMS.get(site.platform)
    return platform.longest_past_days if platform else 0


def backfill(sites: Sequence[MonitoredSite], past_days: int = FIRST_PAST_DAYS) -> Iterator[Attempt]:
    """Fetch this many days of the past of sites that have one, and keep them; yield each as it is
    done. Neither the sites' states nor their points change.

    sites: read `sealed`. past_days: >= 1; a platform that can give less gives what it can.
    """
    with Fetcher(
        sites,
        deadline=time.monotonic() + DURATION_LIMIT_S,
        past_days=past_days,
        fetch_limit_s=PAST_LIMIT_S,
    ) as fetcher:
        for attempt in fetcher:
            with transaction.atomic():
                days.keep([attempt])
            yield attempt
