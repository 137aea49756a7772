"""What a kind of rule is: its form, the history it reads, and a judgement of that at an instant."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar

from django import forms

from sites.models import MonitoredSite

Evidence = TypeVar("Evidence")


class Finding(Enum):
    """UNKNOWN is neither: too little is known to judge, and nothing may follow from it."""

    FIRING = "firing"
    CLEAR = "clear"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """reason: a sentence for the owner, with the figures that led to it."""

    finding: Finding
    reason: str


def firing(reason: str) -> Verdict:
    return Verdict(finding=Finding.FIRING, reason=reason)


def clear(reason: str) -> Verdict:
    return Verdict(finding=Finding.CLEAR, reason=reason)


def unknown(reason: str) -> Verdict:
    return Verdict(finding=Finding.UNKNOWN, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What an alert is about: a site, or where there is none, the subject."""

    site_id: int | None
    subject: str = ""


class RuleKind(ABC, Generic[Evidence]):
    """A kind of rule.

    description: one sentence for whoever chooses among the kinds.
    Options: the knobs. Its cleaned data are JSON values and are stored as they are.
    about_sites: False where the rule is about the installation itself.
    resolution: how often a judgement can change; a replay judges so often.
    """

    key: ClassVar[str]
    name: ClassVar[str]
    description: ClassVar[str]
    Options: ClassVar[type[forms.Form]]
    about_sites: ClassVar[bool] = True
    resolution: ClassVar[timedelta] = timedelta(minutes=5)

    @abstractmethod
    def lookback(self, options: Mapping[str, Any]) -> timedelta:
        """How much history before an instant its judgement needs."""

    @abstractmethod
    def read(
        self,
        options: Mapping[str, Any],
        sites: Sequence[MonitoredSite],
        begin: datetime,
        end: datetime,
    ) -> Mapping[Target, Evidence]:
        """Read what is stored from begin until end; the number of queries does not depend on the
        number of sites. Every target that can be judged has an entry, be it an empty one.
        """

    @abstractmethod
    def judge(self, options: Mapping[str, Any], evidence: Evidence, now: datetime) -> Verdict:
        """Judge by what was known at `now`; whatever came later is in the evidence of a replay, and
        must not be looked at. Pure.
        """

    def options(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Complete stored options by the defaults of the fields that they do not mention."""
        return {
            name: stored.get(name, field.initial)
            for name, field in self.Options.base_fields.items()
        }


def in_words(duration: timedelta) -> str:
    """A duration for a sentence: 45 minutes, 3 hours, 2 days 5 hours."""
    minutes = int(duration.total_seconds() // 60)
    parts = [(minutes // 1440, "day"), (minutes // 60 % 24, "hour"), (minutes % 60, "minute")]
    shown = [f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts if count]
    return " ".join(shown[:2]) or "less than a minute"


def nearest_rank(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed.

    values: at least one. share: in (0, 1].
    Source: nearest-rank percentile, rank = ceil(share * n).
    """
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]
