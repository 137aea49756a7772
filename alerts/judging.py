"""What a rule says of everything it watches: the part that an evaluation, its page and a replay share."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from alerts.models import AlertRule
from alerts.rules.base import Target, Verdict
from sites.models import MonitoredSite

#: Sites whose evidence is in memory at the same time.
BATCH = 500


def watched_sites(rule: AlertRule) -> list[MonitoredSite]:
    """The sites that a rule is about, with no more than judging needs of them."""
    if not rule.judge.about_sites:
        return []
    sites = MonitoredSite.objects.filter(enabled=True).only("pk", "name", "timezone")
    return list(sites.filter(pk=rule.site_id) if rule.site_id else sites)


def judge(
    rule: AlertRule, now: datetime, sites: Sequence[MonitoredSite] | None = None
) -> dict[Target, Verdict]:
    """What a rule says at an instant. Raises KeyError when the code of its kind has gone."""
    kind, options = rule.judge, rule.judge.options(rule.options)
    sites = watched_sites(rule) if sites is None else sites
    return {
        target: kind.judge(options, evidence, now)
        for part in evidence_of(rule, sites, now, now)
        for target, evidence in part.items()
    }


def evidence_of(
    rule: AlertRule, sites: Sequence[MonitoredSite], begin: datetime, end: datetime
) -> Iterator[Mapping[Target, Any]]:
    """What is needed to judge at any instant from begin until end, batch by batch of the sites."""
    kind, options = rule.judge, rule.judge.options(rule.options)
    since = begin - kind.lookback(options)
    if not kind.about_sites:
        yield kind.read(options, (), since, end)
        return
    for first in range(0, len(sites), BATCH):
        yield kind.read(options, sites[first : first + BATCH], since, end)


def instants(begin: datetime, end: datetime, every: timedelta) -> Iterator[datetime]:
    """The whole multiples of `every` from begin until end."""
    rest = timedelta(seconds=begin.timestamp() % every.total_seconds())
    moment = begin if not rest else begin - rest + every
    while moment <= end:
        yield moment
        moment += every
