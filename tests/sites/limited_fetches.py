"""Fetches the sites of a platform with limits, as a process of its own.

`python -m tests.sites.limited_fetches URL SITES` prints what became of them. See test_limits.py.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import django
from django.apps import apps

if not apps.ready:
    django.setup()

from sites.fetching import Fetcher
from sites.models import MonitoredSite
from sites.outbound import Client
from sites.platforms import PLATFORMS
from sites.platforms.base import FetchRequest, Health, Limits, Snapshot
from tests.sites.scripted import Scripted

LIMITS = Limits(concurrent=3, per_minute=40)
ACCOUNT = "an-account-named-by-its-key"
#: Half of it is the time of one fetch.
TIME_S = 40.0


class Limited(Scripted):
    """Two requests for each fetch, all on one account."""

    limits = LIMITS

    def account(self, options: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        return ACCOUNT


async def two_requests(request: FetchRequest, client: Client) -> Snapshot:
    for _ in range(2):
        await client.request("GET", sys.argv[1])
    return Snapshot(taken_at=request.now, health=Health.UP)


def main() -> None:
    PLATFORMS[Limited.key] = Limited(it=two_requests)
    sites = [
        MonitoredSite(pk=number, name=str(number), platform=Limited.key, options={"fetch": "it"})
        for number in range(int(sys.argv[2]))
    ]
    with Fetcher(sites, deadline=time.monotonic() + TIME_S) as fetcher:
        print(json.dumps(Counter(attempt.state.value for attempt in fetcher)))


if __name__ == "__main__":
    main()
