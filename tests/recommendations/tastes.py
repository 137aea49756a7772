"""A small world of two tastes, and runs of jobs whose time is made up."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import numpy as np

from recommendations.models import ContentItem, UserAction
from scheduling.run import Run

START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = 60
TASTES = ("sea", "hill")


def item(number: int) -> str:
    return f"item-{number:03}"


def taste_of_item(number: int) -> int:
    return number % len(TASTES)


def taste_of_user(number: int) -> int:
    return number % len(TASTES)


def user(number: int) -> str:
    return f"user-{number:03}"


def act(
    user_id: str, item_id: str, *, action: str = "view", at: datetime = START, **fields: Any
) -> UserAction:
    """One unsaved action; its id follows from what it says."""
    said = f"{user_id} {action} {item_id} {at.isoformat()}"
    action_id = sha256(said.encode()).hexdigest()
    return UserAction(
        action_id=action_id,
        user_id=user_id,
        item_id=item_id,
        action=action,
        occurred_at=at,
        **fields,
    )


def add_actions(
    users: Iterable[int] = range(80), *, each: int = 14, after_days: float = 0, seed: int = 0
) -> None:
    """Let each user act on items of the own taste, each on others, at times drawn over 30 days."""
    random = np.random.default_rng(seed)
    actions = []
    for number in users:
        own = [one for one in range(ITEMS) if taste_of_item(one) == taste_of_user(number)]
        for chosen in random.choice(own, size=each, replace=False):
            at = START + timedelta(days=after_days + float(random.uniform(0, 30)))
            actions.append(act(user(number), item(int(chosen)), at=at))
    UserAction.objects.bulk_create(actions)


def add_content(numbers: Iterable[int] = range(ITEMS)) -> None:
    """Describe items in words of their taste."""
    words = ("salt waves sand harbour", "rock summit path forest")
    ContentItem.objects.bulk_create(
        ContentItem(
            external_id=item(number),
            title=f"{words[taste_of_item(number)]} {number}",
            topics=[TASTES[taste_of_item(number)]],
            published_at=START,
        )
        for number in numbers
    )


class Killed(BaseException):
    """The process was killed: nothing in it may catch this."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Counts how often a run looks at its time, and ends it, or the process, at one of these looks."""

    ends_at: int | None = None
    kills_at: int | None = None
    looks: list[int] = field(default_factory=list)

    def left_s(self) -> float:
        self.looks.append(len(self.looks))
        if self.kills_at is not None and len(self.looks) >= self.kills_at:
            raise Killed
        return 0.0 if self.ends_at is not None and len(self.looks) >= self.ends_at else 1_000.0


@dataclass(frozen=True, kw_only=True)
class TimedRun(Run):
    """A run that is told how much time is left."""

    clock: Clock

    @property
    def time_left_s(self) -> float:
        return self.clock.left_s()


def run_of(
    payload: dict[str, Any] | None = None,
    *,
    ends_at: int | None = None,
    kills_at: int | None = None,
) -> TimedRun:
    """A run with plenty of time, until it looks for the ends_at-th time; see Clock."""
    return TimedRun(
        id=1,
        payload=payload or {},
        deadline=time.monotonic() + 1_000,
        report=lambda done, total: None,
        clock=Clock(ends_at=ends_at, kills_at=kills_at),
    )
