from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from recommendations import processing, queue
from recommendations.forgetting import forget, forget_nobody_meanwhile
from recommendations.models import (
    FACTORS,
    FactorVersion,
    QuarantinedAction,
    UserAction,
    UserEmbedding,
)
from tests.recommendations.conftest import Drain, entry, raw


def embed(*user_ids: str) -> None:
    version = FactorVersion.objects.create()
    UserEmbedding.objects.bulk_create(
        UserEmbedding(
            user_id=user_id, version=version, vector=[0.0] * FACTORS, actions_used=1, items_used=1,
            spread=1.0,
        )
        for user_id in user_ids
    )  # fmt: skip


@pytest.mark.django_db
def test_all_that_is_stored_about_a_user_is_deleted_and_counted(redis: Any, drain: Drain) -> None:
    for user_id in ("u1", "u10"):
        queue.push_raw([
            raw(user_id=user_id), raw(user_id=user_id), raw(user_id=user_id, action="x"),
            b'{"user_id": "%s", ' % user_id.encode(),
        ])  # fmt: skip
    drain()
    embed("u1", "u10")
    for key in ("u1", "u1:home", "u10"):
        redis.set(f"soloboard:recommend:list:{key}", "[]")
    queue.push([entry(), entry(user_id="u10")])
    claim = queue.claim()
    queue.push([entry(), entry(user_id="u10"), entry(item_id="u1", user_id="u10")])

    counts = {"actions": 2, "embeddings": 1, "cached_lists": 2, "queued": 2, "quarantined": 2}
    assert forget("u1").counts() == counts
    assert set(forget("u1").counts().values()) == {0}

    assert claim is not None
    queue.release(claim)
    assert drain().counts == {"processed": 3, "duplicates": 0, "quarantined": 0, "left": 0}
    assert set(UserAction.objects.values_list("user_id", flat=True)) == {"u10"}
    assert UserEmbedding.objects.get().user_id == "u10"
    assert QuarantinedAction.objects.count() == 2
    assert redis.keys("soloboard:recommend:list:*") == [b"soloboard:recommend:list:u10"]


@pytest.mark.django_db
@pytest.mark.parametrize("user_id", ["*", "[ab]", "a?", "\\"])
def test_an_id_is_no_pattern(redis: Any, user_id: str) -> None:
    for key in (f"{user_id}:home", "a", "ab", "ab:home"):
        redis.set(f"soloboard:recommend:list:{key}", "[]")
    assert forget(user_id).cached_lists == 1
    assert len(redis.keys("soloboard:recommend:list:*")) == 3


@pytest.mark.django_db
def test_the_command_says_what_was_deleted(redis: Any) -> None:
    queue.push([entry()])
    out = StringIO()
    call_command("forget_user", "u1", stdout=out)
    assert "queued: 1\n" in out.getvalue()
    assert "cached lists: 0\n" in out.getvalue()


@pytest.mark.django_db
def test_the_log_does_not_remember_who(redis: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    forget("somebody-by-name")
    assert "forgotten" in caplog.text
    assert "somebody-by-name" not in caplog.text


@pytest.mark.django_db
def test_a_batch_that_was_read_before_is_read_again(redis: Any) -> None:
    queue.push([entry(), entry(user_id="u2")])
    claim = queue.claim()
    assert claim is not None
    early = processing._sort_out(queue.read(claim, 9))
    assert forget("u1").queued == 1
    tally = processing.Tally()
    processing._store_batch(early, tally)
    assert UserAction.objects.get().user_id == "u2"
    assert tally == processing.Tally(processed=1)


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_is_being_stored_is_waited_for(redis: Any) -> None:
    queue.push([entry()])
    claim = queue.claim()
    assert claim is not None

    def forget_elsewhere() -> dict[str, int]:
        try:
            return forget("u1").counts()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            forget_nobody_meanwhile()
            batch = queue.read(claim, 9)
            forgetting = pool.submit(forget_elsewhere)
            assert processing._store(processing._sort_out(batch).actions) == 1
            assert not forgetting.done()
        counts = forgetting.result(timeout=20)
    # It was in the database already and not yet acknowledged, so it was found in both places.
    assert (counts["actions"], counts["queued"]) == (1, 1)
    assert not UserAction.objects.exists()
