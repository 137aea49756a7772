"""The nightly replay of the stored history, and the table of what it found."""

import logging
from collections.abc import Mapping
from typing import Any

from recommendations import history, versions
from recommendations.core.actions import Actions
from recommendations.core.parameters import Parameters
from recommendations.learning import missing_to_learn
from recommendations.models import FACTORS, ReplayFigures
from recommendations.replaying import (
    EVERYBODY,
    MOST_EVALUATED_ACTIONS,
    PERSONAL,
    choose_parameters,
    known_before,
    measure,
    some_users,
)
from scheduling.errors import PayloadRefused
from scheduling.run import JobResult, Run

logger = logging.getLogger(__name__)


def evaluate(run: Run) -> JobResult:
    """Replay the last tenth of the history in two messages: one chooses parameters, one measures."""
    parameters = _parameters_from(run.payload)
    totals = history.totals()
    if missing := missing_to_learn(totals):
        return JobResult(message=missing, counts={"users": 0})
    actions = _actions(totals.last_id)
    if parameters is None:
        # Those of the active version may have been chosen on what is replayed here.
        parameters = choose_parameters(known_before(actions), Parameters(factors=FACTORS))
        return JobResult(
            message="Parameters chosen; the replay follows",
            counts={"actions": len(actions)},
            continuation={"parameters": parameters.as_json()},
        )
    rows = measure(actions, parameters)
    if not rows[0]["users"]:
        return JobResult(message="Nobody took anything new lately", counts={"users": 0})
    figures = keep(rows)
    return JobResult(message="Recommendations evaluated", counts={"users": users_of(figures)})


def keep(rows: list[dict[str, Any]]) -> ReplayFigures:
    """Store the table beside the version that is active now."""
    learned = versions.active()
    figures = ReplayFigures.objects.create(
        version_id=learned.version_id if learned else None, rows=rows
    )
    logger.info("user embedding: replayed, NDCG@10 %.4f", metric_of(figures, PERSONAL, "ndcg_10"))
    return figures


def users_of(figures: ReplayFigures) -> int:
    """How many users' lists were judged."""
    return int(figures.rows[0]["users"])


def metric_of(figures: ReplayFigures, method: str, name: str) -> float:
    """A metric of one method over all users."""
    return next(
        float(row[name])
        for row in figures.rows
        if row["group"] == EVERYBODY and row["method"] == method
    )


def _actions(last_id: int) -> Actions:
    actions = history.read_all(history.item_ids(last_id=last_id), last_id=last_id)
    return some_users(actions, most=MOST_EVALUATED_ACTIONS)


def _parameters_from(payload: Mapping[str, Any]) -> Parameters | None:
    if "parameters" not in payload:
        return None
    try:
        return Parameters.from_json(payload["parameters"])
    except (TypeError, ValueError) as error:
        raise PayloadRefused(f"The parameters cannot be read: {error}.") from error
