"""The making of a version, stage by stage; each run of the job goes as far as its time allows."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
from django.utils import timezone

from recommendations import embeddings, gate, history, item_index, text_vectors
from recommendations.core.actions import Actions
from recommendations.core.arrays import FloatArray
from recommendations.core.ials import Factors, Penalty, train
from recommendations.core.interactions import Interactions
from recommendations.core.model import Model, train_item_item, training_rows
from recommendations.core.parameters import Parameters
from recommendations.core.trending import popularity, trend
from recommendations.core.weights import EVEN
from recommendations.models import FACTORS, FactorVersion, ItemVector
from recommendations.replaying import MOST_ITEM_ITEM, choose_parameters, without_item_item
from recommendations.versions import (
    LearnedVersion,
    names_as_array,
    names_from_array,
    opened,
    pack,
    pack_model,
    reject,
    renumber,
    switch_on,
    unpack,
)
from scheduling.run import Run

logger = logging.getLogger(__name__)

Stage = FactorVersion.Stage

#: Sweeps from the factors of the last version, or to take in the newest actions.
WARM_EPOCHS = 3
#: A stage is not begun with less than this, since most of them end only as a whole.
NEEDED_S = 30.0
#: What is kept in case the process dies costs a few megabytes of writing each time.
KEEP_EVERY_S = 20.0
#: So many runs may end without a word in one stage until it is given up.
MOST_ATTEMPTS = 3
BLOCK_ITEMS = 2_000


class Training:
    """A version in training, and what its stages have in common within one run."""

    def __init__(self, version: FactorVersion, before: LearnedVersion | None, run: Run) -> None:
        """before: the version that is switched on. users: how many vectors this run computed."""
        self.version = version
        self.before = before
        self.run = run
        self.users = 0

    def advance(self) -> bool:
        """Go on until the version is switched on or rejected. False when the time is up before."""
        stages: dict[str, Callable[[], bool]] = {
            Stage.CHOOSING: self._choose,
            Stage.LEARNING: self._learn,
            Stage.JUDGING: self._judge,
            Stage.FINISHING: self._finish,
            Stage.PLACING: self._place,
            Stage.FOLDING: self._fold_in,
        }
        while self.version.status == FactorVersion.Status.TRAINING:
            if self.run.time_left_s < NEEDED_S:
                return False
            if self._is_given_up():
                break
            self.version.attempts += 1
            self.version.save(update_fields=["attempts"])
            if not stages[self.version.stage]():
                return False
        return True

    def _is_given_up(self) -> bool:
        """Whether this stage killed every process that began it."""
        # Without a choice of parameters there are still the last ones.
        if self.version.attempts < MOST_ATTEMPTS or self.version.stage == Stage.CHOOSING:
            return False
        stage = self.version.get_stage_display()
        runs = f"{self.version.attempts} runs ended without a word while {stage}"
        reject(self.version, f"{runs}; perhaps the memory does not suffice.")
        return True

    def _go_on_to(self, stage: FactorVersion.Stage) -> bool:
        self.version.stage, self.version.epochs_done = stage, 0
        self._keep()
        logger.info("user embedding: version %s is %s", self.version.pk, stage.label)
        return True

    def _keep(self) -> None:
        self.version.attempts = 0
        self.version.save()

    # --- What is learned from ---------------------------------------------------------------------

    @cached_property
    def item_ids(self) -> list[str]:
        arrays = unpack(self.version.arrays)
        # The numbers must stay what they are, whatever is stored late or forgotten meanwhile.
        if "item_ids" in arrays:
            return names_from_array(arrays["item_ids"])
        return history.item_ids(last_id=self.version.last_action_id)

    @cached_property
    def actions(self) -> Actions:
        return history.read_all(self.item_ids, last_id=self.version.last_action_id)

    @cached_property
    def trial(self) -> gate.Trial:
        return gate.prepare(self.actions, self.before)

    @property
    def parameters(self) -> Parameters:
        return Parameters.from_json(self.version.parameters)

    # --- Stages -----------------------------------------------------------------------------------

    def _choose(self) -> bool:
        """Choose the parameters, on nothing that judges the version later."""
        if self.version.tuned_at is None and self.version.attempts <= MOST_ATTEMPTS:
            parameters = choose_parameters(self.trial.replay.known, self.parameters)
            self.version.tuned_at = timezone.now()
            self.version.tuned_actions = self.version.actions_used
        else:
            parameters = self.parameters
        if len(self.item_ids) > MOST_ITEM_ITEM:
            parameters = without_item_item(parameters)
        self.version.parameters = replace(parameters, factors=FACTORS).as_json()
        return self._go_on_to(Stage.LEARNING)

    def _learn(self) -> bool:
        known = self.trial.replay.known
        epochs = WARM_EPOCHS if self._starts_warm else self.parameters.epochs
        return self._sweep(known, epochs) and self._go_on_to(Stage.JUDGING)

    def _judge(self) -> bool:
        """Decide before anything is stored that would have to be taken back."""
        replay = self.trial.replay
        candidate = self._model(replay.known, self._kept_factors(), at_s=replay.at_s)
        verdict = gate.judge(self.trial, candidate, self.item_ids, self.before)
        self.version.figures = verdict.figures
        if verdict.reason:
            reject(self.version, verdict.reason)
            logger.warning(
                "user embedding: version %s is not switched on: %s", self.version.pk, verdict.reason
            )
            return True
        return self._go_on_to(Stage.FINISHING)

    def _finish(self) -> bool:
        """Take in what judged the version, and put together all that readers need."""
        if not self._sweep(self.actions, WARM_EPOCHS):
            return False
        times_s = self.actions.times_s
        at_s = float(times_s.max()) if times_s is not None else 0.0
        model = self._model(self.actions, self._kept_factors(), at_s=at_s)
        self.version.learned_until = datetime.fromtimestamp(at_s, tz=UTC)
        self.version.arrays = pack_model(model, self.item_ids)
        return self._go_on_to(Stage.PLACING)

    def _place(self) -> bool:
        """Store the item vectors: the learned ones, then those made from text."""
        learned = opened(self.version)
        factors = learned.model.item_factors
        longest = item_index.longest_of(factors)
        for rows in self._missing(learned):
            if self.run.time_left_s < embeddings.SPARE_S:
                self._keep()
                return False
            names = [learned.item_ids[row] for row in rows]
            item_index.store(self.version.pk, names, factors[rows], longest=longest)
        added = text_vectors.add_missing(learned, self.run)
        self.version.refresh_from_db(fields=["text_items"])
        if not added.finished:
            self._keep()
            return False
        return self._go_on_to(Stage.FOLDING)

    def _missing(self, learned: LearnedVersion) -> Iterator[list[int]]:
        """Blocks of rows whose vectors are not stored yet."""
        stored = set(
            ItemVector.objects.filter(version=self.version).values_list("item_id", flat=True)
        )
        lengths = np.square(learned.model.item_factors).sum(axis=1)
        order = np.argsort(-lengths, kind="stable").tolist()  # As item_index.store() wants them.
        rows = [row for row in order if learned.item_ids[row] not in stored]
        for first in range(0, len(rows), BLOCK_ITEMS):
            yield rows[first : first + BLOCK_ITEMS]

    def _fold_in(self) -> bool:
        """Compute everybody's vector beside that of the last version, then switch."""
        folded = embeddings.update_due(opened(self.version), self.run)
        self.users += folded.users
        if not folded.finished:
            self._keep()
            return False
        self.version.figures["index"] = asdict(item_index.make_good(self.version.pk, self.run))
        switch_on(self.version)
        logger.info("user embedding: version %s is switched on", self.version.pk)
        return True

    # --- Sweeps -----------------------------------------------------------------------------------

    @property
    def _starts_warm(self) -> bool:
        """Whether to begin with the last factors, which must not know what judges the new ones."""
        return self.before is not None and self.trial.fair

    def _sweep(self, actions: Actions, epochs: int) -> bool:
        """Sweep over the actions until this stage has had so many. False when the time is up."""
        rows = training_rows(actions, self.parameters.history)
        sweeps = train(rows, self._penalty(rows), self._start(rows))
        began = kept = time.monotonic()
        while self.version.epochs_done < epochs:
            factors = next(sweeps).items
            self.version.epochs_done += 1
            now = time.monotonic()
            short = self.run.time_left_s < embeddings.SPARE_S + 2 * (now - began)
            last = self.version.epochs_done == epochs
            if short or last or now - kept > KEEP_EVERY_S:
                self._keep_factors(factors)
                kept = now
            if short and not last:
                return False
            began = now
        return True

    def _start(self, rows: Interactions) -> Factors:
        start = Factors.random(len(rows), rows.n_columns, self.parameters.factors)
        if self.version.arrays is not None:
            return replace(start, items=self._kept_factors())
        if self.before is not None and self._starts_warm:
            known = renumber(self.before.model.item_factors, self.before.rows, self.item_ids)
            is_new = np.square(known).sum(axis=1) == 0
            known[is_new] = start.items[is_new]
            return replace(start, items=known)
        return start

    def _penalty(self, rows: Interactions) -> Penalty:
        parameters = self.parameters
        return Penalty.scaled(rows, unobserved=parameters.unobserved, ridge=parameters.ridge)

    def _kept_factors(self) -> FloatArray:
        factors: FloatArray = unpack(self.version.arrays)["item_factors"]
        return factors

    def _keep_factors(self, factors: FloatArray) -> None:
        self.version.arrays = pack(item_ids=names_as_array(self.item_ids), item_factors=factors)
        self._keep()

    def _model(self, actions: Actions, item_factors: FloatArray, *, at_s: float) -> Model:
        """All that was learned from some actions, with factors that were trained on them."""
        parameters = self.parameters
        rows = training_rows(actions, parameters.history)
        item_item = None
        if parameters.score.item_item > 0:
            item_item = train_item_item(actions, parameters)
        return Model(
            parameters=parameters,
            item_factors=item_factors,
            item_vectors=item_factors,
            touched=np.bincount(actions.items, minlength=actions.n_items) > 0,
            penalty=self._penalty(rows),
            item_item=item_item,
            popularity=popularity(Interactions.from_actions(actions, EVEN)),
            trend=trend(actions, at_s=at_s, half_life_s=parameters.score.trend_half_life_s),
            trending=trend(actions, at_s=at_s, half_life_s=parameters.trending_half_life_s),
        )
