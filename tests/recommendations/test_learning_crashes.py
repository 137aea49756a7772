"""Real learners, killed at any instant: readers have a whole version throughout, and the next run goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from recommendations import lists, serving
from recommendations.core.parameters import Parameters, ScoreWeights
from recommendations.learning import process_user_embeddings
from recommendations.models import FACTORS, FactorVersion, ItemVector, UserEmbedding
from recommendations.serving import Wish
from tests.recommendations.tastes import ITEMS, add_actions, add_content, run_of, user

pytestmark = pytest.mark.django_db(transaction=True)

PROJECT = Path(__file__).resolve().parents[2]
USERS = 80
KILLS = 20
# A training in this small world takes about a second.
LIVES_S = (0.02, 1.5)


@pytest.fixture
def nursery() -> Iterator[subprocess.Popen[str]]:
    """Forks a learner on this test's database for each line."""
    here = urlsplit(os.environ["DATABASE_URL"])
    database = here._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.recommendations.learners"],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": database, "LOG_FILE": "-"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process
        process.terminate()


def bear(nursery: subprocess.Popen[str]) -> int:
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write("\n")
    nursery.stdin.flush()
    return int(nursery.stdout.readline())


def active() -> FactorVersion:
    return FactorVersion.objects.get(status=FactorVersion.Status.ACTIVE)


def stored_vectors() -> dict[str, np.ndarray]:
    rows = UserEmbedding.objects.filter(version=active()).values_list("user_id", "vector")
    return {user_id: np.asarray(vector) for user_id, vector in rows}


def assert_readers_have_a_whole_version() -> None:
    version = active()
    assert UserEmbedding.objects.filter(version=version).count() == USERS
    assert ItemVector.objects.filter(version=version).count() == ITEMS
    lists.forget(user(3))
    answer = serving.recommend(Wish(user_id=user(3), limit=10))
    assert (answer.version, answer.source, len(answer.items)) == (version.pk, "computed", 10)


def test_learners_that_are_killed_at_random_instants_leave_a_whole_version(
    nursery: subprocess.Popen[str],
) -> None:
    FactorVersion.objects.create(
        status=FactorVersion.Status.RETIRED,
        stage=FactorVersion.Stage.DONE,
        parameters=Parameters(factors=FACTORS, score=ScoreWeights(trend=0, popularity=0)).as_json(),
        tuned_at=timezone.now(),
        tuned_actions=10_000,
    )
    add_content()
    add_actions(range(USERS))
    assert process_user_embeddings(run_of({"train": True})).continuation is None
    first = active()
    moments = random.Random(5)  # noqa: S311 - not a secret
    died_training: set[str] = set()
    for _ in range(KILLS):
        pid = bear(nursery)
        time.sleep(moments.uniform(*LIVES_S))
        os.kill(pid, signal.SIGKILL)
        assert_readers_have_a_whole_version()
        begun = FactorVersion.objects.filter(status=FactorVersion.Status.TRAINING)
        died_training.update(begun.values_list("stage", flat=True))
    assert len(died_training) >= 2
    # Another learner finishes what the last one left, or begins again.
    result = process_user_embeddings(run_of({"train": True}))
    while result.continuation is not None:
        result = process_user_embeddings(run_of(dict(result.continuation)))
    assert not FactorVersion.objects.filter(status=FactorVersion.Status.TRAINING).exists()
    assert FactorVersion.objects.filter(pk__gt=first.pk).exists()
    assert_readers_have_a_whole_version()
    found = stored_vectors()
    assert process_user_embeddings(run_of({"rebuild": True})).continuation is None
    for user_id, vector in stored_vectors().items():
        assert np.abs(vector - found[user_id]).max() < 1e-5
