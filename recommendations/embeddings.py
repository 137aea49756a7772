"""The users' vectors: which of them are out of date, and their exact computation in blocks."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from recommendations import history, records
from recommendations.core.fold_in import FoldIn
from recommendations.core.interactions import Interactions
from recommendations.core.ranking import score_spread
from recommendations.forgetting import forget_nobody_meanwhile
from recommendations.models import FACTORS, UserEmbedding
from recommendations.versions import LearnedVersion
from scheduling.run import Run

logger = logging.getLogger(__name__)

#: A block is what one transaction writes; it ends at whichever comes first.
BLOCK_USERS = 1_000
BLOCK_ACTIONS = 200_000
#: So many users are looked up at a time.
LOOK_AHEAD = 50_000
#: Kept free to end the block that is under way.
SPARE_S = 5.0

_FIELDS = {
    "version_id": ">i8",
    "vector": records.vector_field(FACTORS),
    "actions_used": ">i4",
    "items_used": ">i4",
    "spread": ">f8",
}
_STORED = "(SELECT user_id, count(*) AS actions FROM user_actions GROUP BY user_id) AS stored"
# Numbers are compared, not times: an action may be stored late, and be older than the vector.
_DUE = f"""
    SELECT stored.user_id, stored.actions FROM {_STORED}
    LEFT JOIN user_embeddings AS made ON made.version_id = %s AND made.user_id = stored.user_id
    WHERE made.actions_used IS DISTINCT FROM stored.actions
    ORDER BY stored.user_id COLLATE "C" LIMIT %s
"""  # noqa: S608 - Nothing but the text above goes in.
_EVERYBODY_AFTER = f"""
    SELECT user_id, actions FROM {_STORED} WHERE user_id COLLATE "C" > %s
    ORDER BY user_id COLLATE "C" LIMIT %s
"""  # noqa: S608 - As above.
_FORGOTTEN = """
    DELETE FROM user_embeddings AS made WHERE version_id = %s
    AND NOT EXISTS (SELECT FROM user_actions WHERE user_actions.user_id = made.user_id)
"""


@dataclass(frozen=True, kw_only=True)
class DueUser:
    """A user and the number of actions that are stored of them."""

    user_id: str
    actions: int


@dataclass(frozen=True, kw_only=True)
class Folded:
    """users: how many got a vector. last: the user id of the last one. finished: nobody is left."""

    users: int
    last: str
    finished: bool


def update_due(learned: LearnedVersion, run: Run) -> Folded:
    """Compute the vectors of exactly those users who acted since, or have none in this version."""
    return _update(learned, run, lambda last: find_due(learned.version_id), last="")


def rebuild(learned: LearnedVersion, run: Run, *, after: str = "") -> Folded:
    """Compute everybody's vector again from the stored actions, beginning after a user."""
    return _update(learned, run, find_everybody, last=after)


def find_due(version_id: int, *, limit: int = LOOK_AHEAD) -> list[DueUser]:
    """Users whose vector is missing or was made from another number of actions."""
    return _find(_DUE, version_id, limit)


def find_everybody(after: str, *, limit: int = LOOK_AHEAD) -> list[DueUser]:
    """All users that acted and come after this one."""
    return _find(_EVERYBODY_AFTER, after, limit)


def remove_forgotten(version_id: int) -> int:
    """Delete the vectors of users of whom no action is left. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGOTTEN, [version_id])
        return int(cursor.rowcount)


def _find(query: str, *parameters: str | int) -> list[DueUser]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return [DueUser(user_id=user_id, actions=actions) for user_id, actions in cursor]


def _update(
    learned: LearnedVersion, run: Run, find: Callable[[str], list[DueUser]], *, last: str
) -> Folded:
    model = learned.model
    fold_in = FoldIn(model.item_factors, model.penalty)
    done = 0
    while due := find(last):
        total = done + len(due)
        for block in blocks(due):
            if run.time_left_s < SPARE_S:
                return Folded(users=done, last=last, finished=False)
            store(learned, fold_in, block)
            done, last = done + len(block), block[-1].user_id
            run.report(done, total)
            logger.info(
                "user embedding: %s of %s users in version %s", done, total, learned.version_id
            )
    return Folded(users=done, last=last, finished=True)


def blocks(due: Sequence[DueUser]) -> Iterator[list[DueUser]]:
    """Cut users into blocks whose actions fit the memory; somebody with very many is one alone."""
    block: list[DueUser] = []
    actions = 0
    for user in due:
        if block and (len(block) == BLOCK_USERS or actions + user.actions > BLOCK_ACTIONS):
            yield block
            block, actions = [], 0
        block.append(user)
        actions += user.actions
    if block:
        yield block


def store(learned: LearnedVersion, fold_in: FoldIn, block: Sequence[DueUser]) -> None:
    """Compute and write the vectors of a block, in place of those it has in this version."""
    users = [user.user_id for user in block]
    # One transaction from the actions to the vectors made from them, so that what belongs together
    # can be locked together.
    with transaction.atomic():
        forget_nobody_meanwhile()
        rows = _compute(learned, fold_in, users)
        rows["actions_used"] = [user.actions for user in block]
        UserEmbedding.objects.filter(version=learned.version_id, user_id__in=users).delete()
        records.write("user_embeddings", "user_id", users, rows)


def _compute(learned: LearnedVersion, fold_in: FoldIn, users: Sequence[str]) -> records.Records:
    """The rows of users without the numbers of their actions."""
    model = learned.model
    actions = history.read_users(learned.item_ids, users)
    interactions = Interactions.from_actions(actions, model.parameters.fold_in)
    vectors = fold_in.exact(interactions)
    rows = records.blank(_FIELDS, len(users))
    rows["version_id"] = learned.version_id
    rows["vector"]["size"] = FACTORS
    rows["vector"]["values"] = vectors
    rows["items_used"] = interactions.lengths
    rows["spread"] = score_spread(vectors, model.item_factors[model.touched])
    return rows
