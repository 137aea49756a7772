"""How often a rule would have fired over the stored history, by the code that evaluates it live."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from alerts.firing import Step, Track, advance, step
from alerts.judging import evidence_of, instants, watched_sites
from alerts.models import AlertRule
from alerts.rules.base import Finding

#: So many judgements take a few seconds; with more sites or days it judges less often.
JUDGEMENTS = 300_000


@dataclass(kw_only=True)
class Firing:
    """One alert that there would have been. closed_at: None when it would still be open."""

    about: str
    opened_at: datetime
    reason: str
    closed_at: datetime | None = None

    def duration(self, until: datetime) -> timedelta:
        return (self.closed_at or until) - self.opened_at


@dataclass(kw_only=True)
class Backtest:
    """firings: in order. every: how often it was judged. judged: how many times, all targets together;
    unknown: how many of these too little was known for, and unknown_reason why the last time.
    """

    begin: datetime
    end: datetime
    every: timedelta
    targets: int = 0
    judged: int = 0
    firings: list[Firing] = field(default_factory=list)
    unknown: int = 0
    unknown_reason: str = ""

    @property
    def unknown_percent(self) -> int:
        """Rounded down, so that 100 means all."""
        return self.unknown * 100 // self.judged if self.judged else 0

    @property
    def per_week(self) -> float:
        return len(self.firings) * timedelta(weeks=1) / (self.end - self.begin)


def backtest(rule: AlertRule, begin: datetime, end: datetime) -> Backtest:
    """Replay a rule from begin until end over what is stored now.

    The number of queries depends on the number of sites in batches of hundreds, and not on how often
    it is judged. Raises KeyError when the code of its kind has gone.
    """
    sites = watched_sites(rule)
    names = {site.pk: site.name for site in sites}
    found = Backtest(begin=begin, end=end, every=_every(rule, len(sites), end - begin))
    for part in evidence_of(rule, sites, begin, end):
        for target, evidence in part.items():
            about = target.subject if target.site_id is None else names[target.site_id]
            found.targets += 1
            found.firings += _replay(rule, evidence, about, found)
    found.firings.sort(key=lambda firing: (firing.opened_at, firing.about))
    return found


def _every(rule: AlertRule, sites: int, time: timedelta) -> timedelta:
    """As often as a judgement can change, or a multiple of that when it would be too much."""
    finest = rule.judge.resolution
    wanted = max(sites, 1) * (time / finest)
    return finest * max(1, -int(-wanted // JUDGEMENTS))


def _replay(rule: AlertRule, evidence: Any, about: str, found: Backtest) -> Iterator[Firing]:
    kind, options, policy = rule.judge, rule.judge.options(rule.options), rule.policy
    track, firing = Track(), None
    for now in instants(found.begin, found.end, found.every):
        verdict = kind.judge(options, evidence, now)
        found.judged += 1
        if verdict.finding is Finding.UNKNOWN:
            found.unknown += 1
            found.unknown_reason = verdict.reason
        taken = step(track, verdict, now, policy)
        track = advance(track, taken, now)
        if taken is Step.OPEN:
            firing = Firing(about=about, opened_at=now, reason=verdict.reason)
        elif taken is Step.CLOSE and firing:
            firing.closed_at = now
            yield firing
            firing = None
    if firing:
        yield firing
