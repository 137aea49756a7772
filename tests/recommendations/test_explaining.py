"""Why an item is in a list, and why it is not."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from recommendations.explaining import Explanation, explain
from recommendations.models import ContentItem, UserAction
from recommendations.serving import Answer, Wish, recommend
from tests.recommendations.shop import PARAMETERS, act, build_shop, item, learn_version, user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_lists")]

ME = user(0)


@pytest.fixture
def answer() -> Answer:
    build_shop()
    learn_version()
    return recommend(Wish(user_id=ME))


def why(item_id: str, answer: Answer) -> Explanation:
    return explain(ME, item_id, answer)


def test_listed_item_has_its_place_and_its_reason(answer: Answer) -> None:
    first = answer.items[0]
    explanation = why(first.item_id, answer)
    assert explanation.is_listed
    assert explanation.verdict == f"It is number 1 of the list: {first.reason}."
    assert explanation.rules == []


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_parts_add_up_to_the_score_of_the_list(share: float) -> None:
    build_shop()
    score = replace(PARAMETERS.score, item_item=share)
    learn_version(replace(PARAMETERS, score=score, item_item_ridge=20.0))
    answer = recommend(Wish(user_id=ME))
    for entry in answer.items[:3]:
        explanation = why(entry.item_id, answer)
        assert sum(part.value for part in explanation.parts) == pytest.approx(entry.score, abs=1e-3)
        assert explanation.score == pytest.approx(entry.score, abs=1e-3)
        taste = sum(part.value for part in explanation.parts[:-2])
        assert sum(weight.share for weight in explanation.weights) <= taste + 1.0


def test_weights_of_all_own_items_add_up_to_the_taste(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recommendations.explaining.WEIGHTS_SHOWN", 1000)
    explanation = why(answer.items[0].item_id, answer)
    assert len(explanation.weights) == 12
    total = sum(weight.share for weight in explanation.weights)
    assert total == pytest.approx(explanation.parts[0].value, abs=1e-3)


def test_reason_is_the_own_item_that_weighs_most(answer: Answer) -> None:
    entry = next(entry for entry in answer.items if entry.reason_kind == "because")
    best = max(why(entry.item_id, answer).weights, key=lambda weight: weight.share)
    assert entry.reason == f"because you read {best.title}"


def test_rank_counts_what_may_be_listed_and_was_not_seen(answer: Answer) -> None:
    rank = why(answer.items[0].item_id, answer).rank
    assert rank is not None
    assert rank[1] == 108
    assert rank[0] == 1


def test_item_far_down_is_told_its_rank(answer: Answer) -> None:
    long_list = recommend(Wish(user_id=ME, limit=100))
    explanation = why(long_list.items[-1].item_id, answer)
    assert not explanation.is_listed
    assert "its score is number " in explanation.verdict.lower()


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"hidden": True}, "It is hidden."),
        ({"expires_at": timezone.now() - timedelta(days=1)}, "It expired on "),
        ({"published_at": timezone.now() + timedelta(days=1)}, "It will be published on "),
    ],
)
def test_item_that_may_not_be_listed_is_told_why(
    fields: dict[str, object], rule: str, answer: Answer
) -> None:
    first = answer.items[0].item_id
    ContentItem.objects.filter(external_id=first).update(**fields)
    explanation = why(first, recommend(Wish(user_id=ME)))
    assert not explanation.is_listed
    assert explanation.rank is None
    assert explanation.rules[0].startswith(rule)


@pytest.mark.parametrize(("action", "word"), [("view", "seen"), ("dismiss", "dismissed")])
def test_seen_item_is_told_when(action: str, word: str, answer: Answer) -> None:
    first = answer.items[0].item_id
    act(ME, first, action)
    (rule,) = why(first, recommend(Wish(user_id=ME))).rules
    assert rule.startswith(f"The user has {word} it: {action} on ")


def test_unknown_item_is_told_so(answer: Answer) -> None:
    assert why("nothing", answer).rules == ["There is no content with this id."]


def test_without_a_version_there_is_only_the_trend() -> None:
    build_shop()
    answer = recommend(Wish(user_id=ME))
    explanation = why(answer.items[0].item_id, answer)
    assert (explanation.is_listed, explanation.parts, explanation.weights) == (True, [], [])
    assert explanation.trending > 0
    seen = UserAction.objects.filter(user_id=ME).values("item_id")
    last = ContentItem.objects.exclude(external_id__in=seen).exclude(
        external_id__in=[entry.item_id for entry in answer.items]
    )
    verdict = why(last[0].external_id, answer).verdict
    assert verdict == "It is not among the first 20 of what is trending."
    assert item(0)
