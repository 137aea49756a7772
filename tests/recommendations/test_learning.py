import logging
import threading
from datetime import timedelta

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from recommendations import embeddings, versions
from recommendations.core.parameters import Parameters, ScoreWeights
from recommendations.learning import process_user_embeddings
from recommendations.models import (
    FACTORS,
    ContentItem,
    FactorVersion,
    ItemVector,
    UserAction,
    UserEmbedding,
)
from scheduling.errors import PayloadRefused
from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.run import JobResult
from scheduling.runner import Call, run_job
from tests.recommendations.tastes import (
    ITEMS,
    START,
    Killed,
    act,
    add_actions,
    add_content,
    item,
    run_of,
    taste_of_item,
    user,
)

pytestmark = pytest.mark.django_db(transaction=True)

Vectors = dict[str, np.ndarray]
BATCH_PROCESS = "/api/actions/batch-process"
LATER = START + timedelta(days=40)


@pytest.fixture
def chosen() -> None:
    """Parameters that are good enough, chosen just now: choosing takes longer than all else."""
    FactorVersion.objects.create(
        status=FactorVersion.Status.RETIRED,
        stage=FactorVersion.Stage.DONE,
        parameters=Parameters(factors=FACTORS, score=ScoreWeights(trend=0, popularity=0)).as_json(),
        tuned_at=timezone.now(),
        tuned_actions=10_000,
    )


def trained() -> QuerySet[FactorVersion]:
    """The versions that a test has made, the newest first."""
    return FactorVersion.objects.filter(actions_used__gt=0)


def newest() -> FactorVersion:
    return trained()[0]


def learn(**payload: object) -> JobResult:
    result = process_user_embeddings(run_of(dict(payload)))
    assert result.continuation is None
    return result


def active() -> FactorVersion:
    return FactorVersion.objects.get(status=FactorVersion.Status.ACTIVE)


def stored_vectors() -> Vectors:
    rows = UserEmbedding.objects.filter(version=active()).values_list("user_id", "vector")
    return {user_id: np.asarray(vector) for user_id, vector in rows}


def assert_same(one: Vectors, other: Vectors) -> None:
    assert one.keys() == other.keys()
    for user_id, vector in one.items():
        assert np.abs(vector - other[user_id]).max() < 1e-5


def mean_products(vector: np.ndarray) -> tuple[float, float]:
    """The mean product with the learned items of each taste."""
    rows = ItemVector.objects.filter(version=active(), from_text=False)
    products: tuple[list[float], list[float]] = ([], [])
    for item_id, factors in rows.values_list("item_id", "vector"):
        products[taste_of_item(int(item_id[-3:]))].append(float(np.asarray(factors) @ vector))
    return float(np.mean(products[0])), float(np.mean(products[1]))


def finish(result: JobResult) -> int:
    """Send on continuations until there is none, and return how many there were."""
    sent = 0
    while result.continuation is not None:
        sent += 1
        result = process_user_embeddings(run_of(dict(result.continuation)))
    return sent


class TestFirstVersion:
    def test_users_are_near_the_items_of_their_taste(self) -> None:
        add_actions()
        assert learn().counts["users"] == 80
        for number, user_id in enumerate(sorted(stored_vectors())):
            means = mean_products(stored_vectors()[user_id])
            assert means[number % 2] > means[1 - number % 2] + 0.03

    def test_too_little_is_said_and_nothing_is_trained(self) -> None:
        add_actions(range(5))
        result = learn()
        assert "70 of 200 actions, 5 of 20 users; what is trending is served" in result.message
        assert not FactorVersion.objects.exists()
        assert versions.active() is None

    def test_an_empty_table_is_no_error(self) -> None:
        assert "0 of 200 actions" in learn().message

    def test_figures_of_the_replay_and_of_the_index_are_kept(self) -> None:
        add_actions()
        learn()
        figures = active().figures
        assert figures["this version"]["ndcg_10"] > figures["trending"]["ndcg_10"]
        assert figures["index"]["recall"] >= 0.98
        assert set(figures["shares"]) == {"exploration", "topic"}


@pytest.mark.usefixtures("chosen")
class TestUpdate:
    def test_exactly_those_who_acted_get_a_new_vector(self) -> None:
        add_actions()
        learn()
        before = dict(UserEmbedding.objects.values_list("user_id", "updated_at"))
        acted = {user(1), user(2), "somebody new"}
        UserAction.objects.bulk_create(act(name, item(7), at=LATER) for name in acted)
        assert learn().counts["users"] == 3
        after = dict(UserEmbedding.objects.values_list("user_id", "updated_at"))
        assert {name for name, at in after.items() if before.get(name) != at} == acted

    def test_an_action_that_arrives_late_counts(self) -> None:
        add_actions()
        learn()
        UserAction.objects.bulk_create([act(user(1), item(2), at=START - timedelta(days=9))])
        assert learn().counts["users"] == 1

    def test_nothing_new_changes_nothing(self) -> None:
        add_actions()
        learn()
        assert learn().counts["users"] == 0

    def test_rebuilding_gives_the_same_vectors(self) -> None:
        add_actions()
        learn()
        add_actions(range(30, 50), each=3, after_days=31, seed=1)
        learn()
        updated = stored_vectors()
        assert learn(rebuild=True).counts["users"] == 80
        assert_same(updated, stored_vectors())
        UserEmbedding.objects.all().delete()
        learn()
        assert_same(updated, stored_vectors())

    def test_actions_that_arrive_in_another_order_give_the_same_vectors(self) -> None:
        add_actions()
        learn()
        first = stored_vectors()
        actions = list(UserAction.objects.order_by("-id"))
        UserAction.objects.all().delete()
        for action in actions:
            action.pk = None
        UserAction.objects.bulk_create(actions)
        learn(rebuild=True)
        assert_same(first, stored_vectors())

    def test_a_dismissal_counts_against_its_taste(self) -> None:
        add_actions()
        for name, action in (("keen", "view"), ("tired", "dismiss")):
            UserAction.objects.bulk_create(
                [
                    *(act(name, item(number), at=LATER) for number in range(10)),
                    *(
                        act(name, item(number), action=action, at=LATER)
                        for number in range(11, 31, 2)
                    ),
                ]
            )
        learn()
        keen, tired = (mean_products(stored_vectors()[name]) for name in ("keen", "tired"))
        assert tired[1] < 0.5 * keen[1]
        assert tired[0] > 0.8 * keen[0]

    def test_who_only_dismisses_is_near_nothing(self) -> None:
        add_actions()
        learn()
        UserAction.objects.bulk_create(
            act("no", item(number), action="dismiss", at=LATER) for number in range(6)
        )
        learn()
        embedding = UserEmbedding.objects.get(user_id="no")
        assert embedding.items_used == 6
        assert np.abs(np.asarray(embedding.vector)).max() == 0

    def test_who_only_touched_unknown_items_has_a_row_and_is_not_due_again(self) -> None:
        add_actions()
        learn()
        UserAction.objects.bulk_create([act("new", "never seen", at=LATER)])
        assert learn().counts["users"] == 1
        assert UserEmbedding.objects.get(user_id="new").items_used == 0
        assert learn().counts["users"] == 0

    def test_the_vector_of_somebody_without_actions_is_deleted(self) -> None:
        add_actions()
        learn()
        UserAction.objects.filter(user_id=user(3)).delete()
        assert learn().counts["users_removed"] == 1
        assert not UserEmbedding.objects.filter(user_id=user(3)).exists()

    def test_ids_of_any_text_are_kept(self) -> None:
        add_actions()
        strange = "Zoë\t'\"\\,{}\n\N{HAIR SPACE}" + "x" * 150
        UserAction.objects.bulk_create(
            act(strange, name, at=START) for name in (item(1), item(3), strange)
        )
        learn()
        assert UserEmbedding.objects.get(user_id=strange).items_used == 3
        learned = versions.active()
        assert learned is not None
        assert strange in learned.rows

    def test_the_number_of_queries_follows_the_blocks_not_the_users(self) -> None:
        add_actions()
        learn()
        numbers = []
        for last in (10, 70):
            add_actions(range(last), each=1, after_days=last, seed=last)
            with CaptureQueriesContext(
                connection,
            ) as queries:
                learn()
            numbers.append(len(queries))
        assert numbers[0] == numbers[1] < 25

    def test_the_table_answers_the_owners_query(self) -> None:
        add_actions()
        learn()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT user_id, updated_at FROM user_embeddings ORDER BY updated_at DESC LIMIT 10;"
            )
            assert len(cursor.fetchall()) == 10


@pytest.mark.usefixtures("chosen")
class TestUntouchedItems:
    def test_they_have_vectors_near_those_of_their_taste(self) -> None:
        add_actions()
        add_content(range(ITEMS + 2))
        learn()
        vectors = dict(ItemVector.objects.filter(from_text=True).values_list("item_id", "vector"))
        assert set(vectors) == {item(ITEMS), item(ITEMS + 1)}
        sea, hill = stored_vectors()[user(0)], stored_vectors()[user(1)]
        assert sea @ np.asarray(vectors[item(ITEMS)]) > hill @ np.asarray(vectors[item(ITEMS)])

    def test_one_that_comes_later_is_added_to_the_active_version(self) -> None:
        add_actions()
        add_content()
        learn()
        learned = versions.active()
        assert learned is not None
        assert len(learned.item_ids) == ITEMS
        add_content([ITEMS + 4])
        assert learn().counts["items"] == 1
        extended = versions.active()
        assert extended is not None
        assert extended.version_id == learned.version_id
        row = extended.rows[item(ITEMS + 4)]
        assert not extended.model.touched[row]
        assert extended.model.item_vectors[row].any()
        assert learn().counts["items"] == 0

    def test_all_search_vectors_are_equally_long(self) -> None:
        add_actions()
        add_content(range(ITEMS + 4))
        learn()
        lengths = [
            np.linalg.norm(np.asarray(vector))
            for vector in ItemVector.objects.values_list("search", flat=True)
        ]
        assert len(lengths) == ITEMS + 4
        assert np.ptp(lengths) < 1e-4

    def test_an_expired_item_gets_none(self) -> None:
        add_actions()
        add_content(range(ITEMS + 1))
        ContentItem.objects.filter(external_id=item(ITEMS)).update(expires_at=START)
        learn()
        assert not ItemVector.objects.filter(from_text=True).exists()


@pytest.mark.usefixtures("chosen")
class TestNextVersion:
    def test_it_is_due_when_a_tenth_has_come_in(self) -> None:
        add_actions()
        learn()
        add_actions(range(40), each=2, after_days=31, seed=1)
        learn()
        assert trained().count() == 1
        add_actions(range(40), each=2, after_days=62, seed=2)
        learn()
        assert trained().count() == 2

    def test_it_is_due_after_a_day_with_anything_new(self) -> None:
        add_actions()
        learn()
        FactorVersion.objects.update(created_at=timezone.now() - timedelta(days=1, minutes=1))
        learn()
        assert trained().count() == 1
        UserAction.objects.bulk_create([act(user(1), item(2), at=LATER)])
        learn()
        assert trained().count() == 2

    def test_changed_weights_of_actions_make_it_due(self, settings: Settings) -> None:
        add_actions()
        learn()
        settings.ACTION_WEIGHTS = {**settings.ACTION_WEIGHTS, "view": 0.5}
        learn()
        assert newest().action_weights["view"] == 0.5
        assert trained().count() == 2

    def test_it_replaces_the_last_one_and_clears_it_up_later(self) -> None:
        add_actions()
        learn()
        first = active()
        add_actions(after_days=31, each=8, seed=1)
        learn()
        second = active()
        assert second != first
        assert second.figures["last version"]["ndcg_10"] > 0
        first.refresh_from_db()
        assert first.status == FactorVersion.Status.RETIRED
        # A request that began before the switch can still read all of the old one.
        assert UserEmbedding.objects.filter(version=first).count() == 80
        FactorVersion.objects.filter(pk=second.pk).update(
            switched_at=timezone.now() - versions.GRACE
        )
        learn()
        first.refresh_from_db()
        assert first.arrays is None
        assert not UserEmbedding.objects.filter(version=first).exists()
        assert not ItemVector.objects.filter(version=first).exists()
        assert UserEmbedding.objects.filter(version=second).count() == 80

    def test_parameters_are_kept_for_a_week(self) -> None:
        add_actions()
        learn()
        first = active()
        learn(train=True)
        assert newest().tuned_at == first.tuned_at
        long_ago = timezone.now() - timedelta(days=8)
        FactorVersion.objects.update(tuned_at=long_ago)
        learn(train=True)
        assert first.tuned_at is not None
        assert (newest().tuned_at or long_ago) > first.tuned_at

    def test_noise_is_rejected_with_the_reason(self) -> None:
        add_actions()
        learn()
        good = active()
        add_actions(after_days=31, each=8, seed=1)
        # The next version is as far as its sweeps, and what they left behind is noise.
        assert process_user_embeddings(run_of({"train": True}, ends_at=6)).continuation is not None
        spoil_the_version_in_training()
        learn()
        spoiled = newest()
        assert spoiled.status == FactorVersion.Status.REJECTED
        assert f"of version {good.pk}" in spoiled.reason
        assert "NDCG@10" in spoiled.reason
        assert active() == good
        assert not ItemVector.objects.filter(version=spoiled).exists()

    def test_actions_without_any_pattern_do_not_beat_trending(self) -> None:
        random = np.random.default_rng(3)
        UserAction.objects.bulk_create(
            act(user(number), item(chosen), at=START + timedelta(hours=int(random.integers(900))))
            for number in range(60)
            for chosen in random.choice(ITEMS, size=9, replace=False).tolist()
        )
        learn()
        version = newest()
        figures = version.figures
        assert (version.reason == "") == (
            figures["this version"]["ndcg_10"] >= figures["trending"]["ndcg_10"]
        )

    def test_a_wish_of_another_type_is_refused(self) -> None:
        with pytest.raises(PayloadRefused, match="true or false"):
            learn(train="yes")


def spoil_the_version_in_training() -> None:
    version = FactorVersion.objects.get(status=FactorVersion.Status.TRAINING)
    arrays = versions.unpack(version.arrays)
    noise = np.random.default_rng(0).standard_normal(arrays["item_factors"].shape)
    version.arrays = versions.pack(
        item_ids=arrays["item_ids"], item_factors=noise.astype(np.float32)
    )
    version.stage = FactorVersion.Stage.JUDGING
    version.save()


@pytest.mark.usefixtures("chosen")
class TestTimeAndDeath:
    def test_a_run_whose_time_is_up_goes_on_in_further_messages(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embeddings, "BLOCK_USERS", 10)
        add_actions()
        add_content(range(ITEMS + 3))
        result = process_user_embeddings(run_of(ends_at=1))
        sent = 0
        while result.continuation is not None:
            sent += 1
            result = process_user_embeddings(run_of(dict(result.continuation), ends_at=4))
        assert sent > 3
        assert_complete()

    @pytest.mark.parametrize("look", [1, 2, 3, 5, 9, 14, 19, 22, 25, 28, 31, 33])
    def test_a_killed_run_is_taken_up_by_the_next(
        self, look: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embeddings, "BLOCK_USERS", 10)
        add_actions()
        add_content(range(ITEMS + 3))
        with pytest.raises(Killed):
            process_user_embeddings(run_of(kills_at=look))
        finish(process_user_embeddings(run_of()))
        assert_complete()

    def test_a_rebuild_goes_on_after_the_last_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embeddings, "BLOCK_USERS", 10)
        add_actions()
        learn()
        began = timezone.now()
        result = process_user_embeddings(run_of({"rebuild": True}, ends_at=4))
        assert result.continuation == {"rebuild": True, "after": user(29), "train": False}
        assert finish(result) == 1
        assert UserEmbedding.objects.filter(updated_at__gt=began).count() == 80

    def test_a_stage_that_kills_every_run_is_given_up(self) -> None:
        add_actions()
        learn()
        good = active()
        process_user_embeddings(run_of({"train": True}, ends_at=6))
        FactorVersion.objects.filter(status=FactorVersion.Status.TRAINING).update(attempts=3)
        learn()
        assert "3 runs ended without a word" in newest().reason
        assert active() == good


def assert_complete() -> None:
    """One active version, with a vector for each user and each item, as an undisturbed run makes."""
    version = active()
    assert trained().count() == 1
    assert UserEmbedding.objects.filter(version=version).count() == 80
    assert ItemVector.objects.filter(version=version, from_text=False).count() == ITEMS
    assert ItemVector.objects.filter(version=version, from_text=True).count() == 3
    disturbed = stored_vectors()
    learn(rebuild=True)
    assert_same(disturbed, stored_vectors())


@pytest.mark.usefixtures("chosen")
class TestReaders:
    def test_a_reader_never_sees_two_versions_at_once(self) -> None:
        add_actions()
        learn()
        add_actions(after_days=31, each=8, seed=1)
        seen: list[int] = []
        wrong: list[object] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                learned = versions.active()
                if learned is None:
                    wrong.append("no version")
                    break
                seen.append(learned.version_id)
                rows = UserEmbedding.objects.filter(version=learned.version_id)
                if rows.count() < 80:
                    wrong.append((learned.version_id, rows.count()))
                stored = ItemVector.objects.filter(version=learned.version_id)
                for item_id, vector in stored.values_list("item_id", "vector")[:5]:
                    expected = learned.model.item_vectors[learned.rows[item_id]]
                    if not np.allclose(np.asarray(vector), expected, atol=1e-6):
                        wrong.append(item_id)
            connection.close()

        reader = threading.Thread(target=read)
        reader.start()
        learn()
        stop.set()
        reader.join()
        assert wrong == []
        first, second = trained().order_by("pk").values_list("pk", flat=True)
        assert seen == sorted(seen)
        assert set(seen) <= {first, second}
        assert first in seen
        assert active().pk == second

    def test_reading_the_active_version_costs_one_query(self) -> None:
        add_actions()
        learn()
        versions.active()
        with CaptureQueriesContext(connection) as queries:
            assert versions.active() is versions.active()
        assert len(queries) == 2


class TestJob:
    def test_it_runs_by_hand_with_the_secret_and_not_without(self, settings: Settings) -> None:
        add_actions()
        body = {"action": "process_user_embeddings"}
        client = Client()
        refused = client.post(BATCH_PROCESS, body, content_type="application/json")
        assert refused.status_code == 401
        answer = client.post(
            BATCH_PROCESS,
            body,
            content_type="application/json",
            headers={"Authorization": f"Bearer {settings.CRON_SECRET}"},
        )
        assert answer.status_code == 200, answer.content
        assert answer.json()["success"] is True
        assert answer.json()["message"] == "User embeddings updated"

    def test_its_schedule_is_the_promised_one(self) -> None:
        job = registry["process-user-embeddings"]
        assert (job.name, job.cron, job.method) == ("User embedding update", "0 */2 * * *", "POST")
        assert f"/api/{job.path}" == BATCH_PROCESS
        assert job.body == {"action": "process_user_embeddings"}

    def test_its_log_lines_can_be_found(self, caplog: pytest.LogCaptureFixture) -> None:
        add_actions()
        with caplog.at_level(logging.INFO):
            run_job(registry["process-user-embeddings"], Call(trigger=JobRun.Trigger.COMMAND))
        lines = [record.getMessage() for record in caplog.records]
        assert any(
            line.startswith("user embedding update: User embeddings updated") for line in lines
        )
        assert any("is switched on" in line for line in lines)


def test_staff_see_why_a_version_was_rejected() -> None:
    User.objects.create_superuser("me")
    FactorVersion.objects.create(
        status=FactorVersion.Status.REJECTED, reason="NDCG@10 0.081 against 0.095 of version 3."
    )
    client = Client()
    client.force_login(User.objects.get())
    page = client.get("/admin/recommendations/factorversion/").content.decode()
    assert "NDCG@10 0.081 against 0.095 of version 3." in page
    assert "0 of 200 actions" in page
