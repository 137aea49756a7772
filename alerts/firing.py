"""When a rule's verdict opens an alert, is worth a reminder, or ends it. Live and in a replay alike."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from alerts.rules.base import Finding, Verdict


@dataclass(frozen=True, kw_only=True)
class Policy:
    """cooldown: since the last opening. remind_every: None for never."""

    cooldown: timedelta
    remind_every: timedelta | None


@dataclass(frozen=True, kw_only=True)
class Track:
    """What has happened so far with one rule for one site.

    opened_at: of the last alert, open or not; None before the first.
    told_at: of the last message about it.
    """

    is_open: bool = False
    opened_at: datetime | None = None
    told_at: datetime | None = None


class Step(Enum):
    OPEN = "open"
    REMIND = "remind"
    CLOSE = "close"


def step(track: Track, verdict: Verdict, now: datetime, policy: Policy) -> Step | None:
    """What a verdict leads to; None for nothing. One that is not known changes nothing."""
    if track.is_open:
        if verdict.finding is Finding.CLEAR:
            return Step.CLOSE
        if verdict.finding is Finding.FIRING and _is_reminder_due(track, now, policy):
            return Step.REMIND
        return None
    if verdict.finding is not Finding.FIRING or _is_cooling_down(track, now, policy):
        return None
    return Step.OPEN


def advance(track: Track, taken: Step | None, now: datetime) -> Track:
    """The track after a step."""
    if taken is Step.OPEN:
        return Track(is_open=True, opened_at=now, told_at=now)
    if taken is Step.REMIND:
        return Track(is_open=True, opened_at=track.opened_at, told_at=now)
    if taken is Step.CLOSE:
        return Track(is_open=False, opened_at=track.opened_at, told_at=now)
    return track


def _is_cooling_down(track: Track, now: datetime, policy: Policy) -> bool:
    return track.opened_at is not None and now < track.opened_at + policy.cooldown


def _is_reminder_due(track: Track, now: datetime, policy: Policy) -> bool:
    if policy.remind_every is None or track.told_at is None:
        return False
    return now >= track.told_at + policy.remind_every
