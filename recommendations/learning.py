"""The job that keeps every user's vector up to date, and trains new item factors now and then."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from django.utils import timezone

from recommendations import embeddings, history, text_vectors, versions
from recommendations.core.parameters import Parameters
from recommendations.history import Totals
from recommendations.models import FACTORS, FactorVersion
from recommendations.training import Training
from scheduling.errors import PayloadRefused
from scheduling.run import JobResult, Run

logger = logging.getLogger(__name__)

#: With less there is nothing that would repeat itself.
FEWEST_ACTIONS = 200
FEWEST_USERS = 20
#: A new version is trained once a day, or sooner when this share has come since the last one.
TRAIN_EVERY = timedelta(days=1)
TRAIN_AT_GROWTH = 0.1
#: Parameters are chosen again once a week, or when the actions have doubled.
TUNE_EVERY = timedelta(days=7)
TUNE_AT_GROWTH = 1.0


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a call asks for beyond the usual.

    train: a new version, whether it is due or not.
    rebuild_after: compute everybody's vector again, beginning after this user; None for no such wish.
    """

    train: bool = False
    rebuild_after: str | None = None

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """Raises PayloadRefused for a wish that is not of its type."""
        train, rebuild = payload.get("train", False), payload.get("rebuild", False)
        after = payload.get("after", "")
        if not (isinstance(train, bool) and isinstance(rebuild, bool) and isinstance(after, str)):
            raise PayloadRefused("train and rebuild must be true or false, and after a user id.")
        return cls(train=train, rebuild_after=after if rebuild else None)


def process_user_embeddings(run: Run) -> JobResult:
    """Update what is out of date in the active version, then go on with the next one."""
    wishes = Wishes.from_payload(run.payload)
    versions.clear_old(timezone.now())
    totals = history.totals()
    counts = {"users": 0, "users_removed": 0, "items": 0, "version": 0}
    rest = _update_active(run, wishes, counts)
    if rest is None:
        rest = _train(run, wishes, totals, counts)
        if rest is None:
            # Who acted while the new version was made, and whatever has come in since.
            rest = _update_active(run, Wishes(), counts)
    message = _message(totals, finished=rest is None)
    logger.info("user embedding update: %s %s", message, counts)
    return JobResult(message=message, counts=counts, continuation=rest)


def _update_active(run: Run, wishes: Wishes, counts: dict[str, int]) -> dict[str, Any] | None:
    """Bring vectors of the active version up to date. Returns what is left to do, None for nothing."""
    learned = versions.active_learned()
    if learned is None:
        return None
    counts["version"] = learned.version_id
    counts["users_removed"] += embeddings.remove_forgotten(learned.version_id)
    if wishes.rebuild_after is not None:
        rebuilt = embeddings.rebuild(learned, run, after=wishes.rebuild_after)
        counts["users"] += rebuilt.users
        if not rebuilt.finished:
            return {"rebuild": True, "after": rebuilt.last, "train": wishes.train}
    updated = embeddings.update_due(learned, run)
    counts["users"] += updated.users
    if not updated.finished:
        return {"train": wishes.train}
    added = text_vectors.add_missing(learned, run)
    counts["items"] += added.items
    return None if added.finished else {"train": wishes.train}


def _train(
    run: Run, wishes: Wishes, totals: Totals, counts: dict[str, int]
) -> dict[str, Any] | None:
    """Go on with the version in training, or begin one that is due. Returns as _update_active does."""
    version = _version_in_training()
    if version is None and _is_due(wishes, totals):
        version = begin(totals)
    if version is None:
        return None
    training = Training(version, versions.active_learned(), run)
    ended = training.advance()
    counts["users"] += training.users
    return None if ended else {}


def _version_in_training() -> FactorVersion | None:
    version = FactorVersion.objects.filter(status=FactorVersion.Status.TRAINING).first()
    if version and version.action_weights != history.action_weights():
        versions.reject(version, "The weights of the kinds of actions were changed meanwhile.")
        return None
    return version


def begin(totals: Totals) -> FactorVersion:
    """Open a version that learns from everything stored now, with the last parameters or better ones."""
    last = FactorVersion.objects.exclude(tuned_at=None).first()
    version = FactorVersion(
        actions_used=totals.actions,
        last_action_id=totals.last_id,
        action_weights=history.action_weights(),
        parameters=last.parameters if last else Parameters(factors=FACTORS).as_json(),
    )
    if last and not _is_tuning_due(last, totals):
        version.tuned_at, version.tuned_actions = last.tuned_at, last.tuned_actions
    version.save()
    return version


def missing_to_learn(totals: Totals) -> str:
    """What has to come in before anything can be learned; "" when there is enough."""
    if totals.actions >= FEWEST_ACTIONS and totals.users >= FEWEST_USERS:
        return ""
    return (
        f"Too little to learn from yet: {totals.actions} of {FEWEST_ACTIONS} actions, "
        f"{totals.users} of {FEWEST_USERS} users; what is trending is served"
    )


def _is_due(wishes: Wishes, totals: Totals) -> bool:
    if missing_to_learn(totals):
        return False
    last = FactorVersion.objects.first()
    if wishes.train or last is None or last.action_weights != history.action_weights():
        return True
    grown = totals.actions - last.actions_used
    is_old = timezone.now() - last.created_at >= TRAIN_EVERY
    return (is_old and grown != 0) or grown >= TRAIN_AT_GROWTH * last.actions_used


def _is_tuning_due(last: FactorVersion, totals: Totals) -> bool:
    # Parameters that led to a rejected version are not worth keeping for a week.
    is_old = last.tuned_at is None or timezone.now() - last.tuned_at >= TUNE_EVERY
    has_doubled = totals.actions >= (1 + TUNE_AT_GROWTH) * last.tuned_actions
    return is_old or has_doubled or last.status == FactorVersion.Status.REJECTED


def _message(totals: Totals, *, finished: bool) -> str:
    if versions.active() is None and (missing := missing_to_learn(totals)):
        return missing
    return (
        "User embeddings updated" if finished else "User embeddings updated in part; more follows"
    )
