from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from recommendations.core.actions import Actions
from recommendations.core.parameters import Parameters
from recommendations.evaluating import evaluate
from recommendations.models import ReplayFigures
from recommendations.replaying import choose_parameters, groups, measure, some_users
from scheduling.errors import PayloadRefused
from tests.recommendations.tastes import add_actions, run_of

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("evaluate_recommendations", *arguments, stdout=out)
    return out.getvalue()


def made_up(*, users: int = 60, items: int = 40, each: int = 12, kinds: int = 2) -> Actions:
    """Users who take items of one kind of several, at times drawn by chance."""
    random = np.random.default_rng(0)
    rows = np.repeat(np.arange(users), each)
    columns = np.concatenate(
        [
            random.choice(np.arange(user % kinds, items, kinds), each, replace=False)
            for user in range(users)
        ]
    )
    times_s = random.uniform(0, 30 * 86_400, len(rows))
    return Actions(
        users=rows, items=columns, strengths=np.ones(len(rows)), times_s=times_s,
        n_users=users, n_items=items,
    )  # fmt: skip


def test_personal_lists_beat_trending_where_tastes_differ() -> None:
    rows = measure(made_up(), Parameters(factors=8))
    everybody = {row["method"]: row for row in rows if row["group"] == "everybody"}
    assert everybody["personal"]["ndcg_10"] > 1.3 * everybody["trending"]["ndcg_10"]
    mean, low, high = everybody["personal"]["gain"]
    assert 0 < low < mean < high
    assert everybody["trending"]["gain"] == [0, 0, 0]
    assert everybody["personal"]["coverage"] > everybody["popular"]["coverage"]


def test_users_are_grouped_by_their_number_of_actions() -> None:
    found = {name: rows.tolist() for name, rows in groups(np.array([1, 4, 5, 150]))}
    assert found == {
        "everybody": [0, 1, 2, 3],
        "1 to 4 actions": [0, 1],
        "5 to 19 actions": [2],
        "100 or more actions": [3],
    }


def test_whole_histories_are_drawn() -> None:
    actions = made_up(users=50, each=10)
    part = some_users(actions, most=101)
    counts = part.counts_by_user()
    assert sorted(np.unique(counts).tolist()) == [0, 10]
    assert len(part) == 100


def test_a_large_catalogue_is_tuned_without_the_item_to_item_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recommendations.replaying.MOST_ITEM_ITEM", 10)
    assert choose_parameters(made_up(), Parameters(factors=8)).score.item_item == 0


def test_the_command_prints_a_table_and_keeps_the_figures() -> None:
    add_actions()
    printed = run()
    assert "Recommendations evaluated" in printed
    for word in ("HR@10", "NDCG@10", "Recall@20", "Coverage", "personal", "trending", "popular"):
        assert word in printed
    assert ReplayFigures.objects.count() == 1
    assert "personal" in run("--last")
    assert ReplayFigures.objects.count() == 1


def test_too_little_is_said() -> None:
    add_actions(range(3))
    assert "42 of 200 actions" in run()
    assert not ReplayFigures.objects.exists()


def test_parameters_are_handed_on_in_a_further_message() -> None:
    add_actions()
    first = evaluate(run_of())
    assert first.continuation is not None
    assert Parameters.from_json(first.continuation["parameters"]).factors == 64
    assert evaluate(run_of(dict(first.continuation))).counts["users"] > 0


def test_parameters_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(PayloadRefused, match="parameters"):
        evaluate(run_of({"parameters": {"charm": 3}}))


def test_the_admin_draws_the_nights_and_shows_each() -> None:
    add_actions()
    run()
    ReplayFigures.objects.update(created_at=timezone.now() - timedelta(days=1))
    run()
    client = Client()
    client.force_login(User.objects.create_superuser("me"))
    page = client.get("/admin/recommendations/replayfigures/").content.decode()
    assert page.count('<path class="line') == 3
    assert "style=" not in page[page.index("<figure") : page.index("</figure>")]
    night = ReplayFigures.objects.first()
    assert night is not None
    page = client.get(f"/admin/recommendations/replayfigures/{night.pk}/change/").content.decode()
    assert "NDCG@10 over trending" in page
    assert (
        client.post(f"/admin/recommendations/replayfigures/{night.pk}/delete/").status_code == 403
    )
