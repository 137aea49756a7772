"""Forgetting a user: deletes all that is stored about one, wherever it is."""

import logging
from dataclasses import asdict, dataclass

from django.db import connection, transaction

from recommendations import queue
from recommendations.actions import is_about
from recommendations.models import QuarantinedAction, UserAction, UserEmbedding
from recommendations.valkey import server

logger = logging.getLogger(__name__)

#: What is shown to a user, under this key or, for different forms of it, under longer ones.
CACHED_LIST = "soloboard:recommend:list:{user_id}"
#: Of an advisory lock in PostgreSQL; any number that nothing else uses.
LOCK = 7_402_931


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """How much was deleted. queued: actions that waited to be processed."""

    actions: int
    embeddings: int
    cached_lists: int
    queued: int
    quarantined: int

    def counts(self) -> dict[str, int]:
        return asdict(self)


def forget_nobody_meanwhile() -> None:
    """Until this transaction ends, no user is forgotten.

    For whoever reads about users and writes about them later: without it, somebody could be
    forgotten in between, and come back.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [LOCK])


def forget(user_id: str) -> Forgotten:
    """Delete a user's actions, vector, cached lists and queued actions. Safe to repeat.

    What the user does from now on is stored again.
    """
    with transaction.atomic():
        _wait_for_writers()
        # The queue first: what is acknowledged while it is searched is in the database already.
        queued = queue.blank(lambda raw: is_about(raw, user_id))
        actions = UserAction.objects.filter(user_id=user_id)._raw_delete("default")
        embeddings, _ = UserEmbedding.objects.filter(user_id=user_id).delete()
        quarantined = _forget_quarantined(user_id)
        cached_lists = _forget_lists(user_id)
    forgotten = Forgotten(
        actions=actions,
        embeddings=embeddings,
        cached_lists=cached_lists,
        queued=queued,
        quarantined=quarantined,
    )
    # Not who: the log would remember.
    logger.info("A user was forgotten: %s", forgotten.counts())
    return forgotten


def _wait_for_writers() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _forget_quarantined(user_id: str) -> int:
    named = QuarantinedAction.objects.filter(user_id=user_id)
    nameless = QuarantinedAction.objects.filter(user_id="").values_list("pk", "raw")
    meant = [pk for pk, raw in nameless.iterator() if is_about(bytes(raw), user_id)]
    deleted, _ = (named | QuarantinedAction.objects.filter(pk__in=meant)).delete()
    return deleted


def _forget_lists(user_id: str) -> int:
    redis = server()
    key = CACHED_LIST.format(user_id=user_id)
    longer = redis.scan_iter(match=_literal(key) + ":*", count=1_000)
    return sum(redis.delete(name) for name in [key, *longer])


def _literal(text: str) -> str:
    """As a pattern of Redis that matches this text alone."""
    return "".join(f"\\{letter}" if letter in r"\*?[]^-" else letter for letter in text)
