from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from recommendations.models import ContentItem
from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.runner import Call, Ending, run_job
from tests.recommendations.shop import (
    act,
    build_shop,
    item,
    learn_version,
    topic_of,
    user,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_lists")]


@pytest.fixture
def staff() -> APIClient:
    client = APIClient()
    client.force_authenticate(User.objects.create_user("me", is_staff=True))
    return client


def get(client: APIClient, address: str, **query: Any) -> dict[str, Any]:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize(
    "address", ["/api/recommend", "/api/recommend/trending", "/api/items/x/similar"]
)
def test_without_a_credential_nothing_is_told(address: str) -> None:
    client = APIClient()
    assert client.get(address).status_code in (401, 403)
    client.force_authenticate(User.objects.create_user("visitor"))
    assert client.get(address).status_code == 403


def test_answer_has_its_source_age_and_reasons(staff: APIClient) -> None:
    build_shop()
    version = learn_version()
    body = get(staff, "/api/recommend", user_id=user(0), limit=5)
    assert body["source"] == "computed"
    assert body["age_s"] < 60
    assert (body["personal"], body["because"], body["version"]) == (True, "", version.pk)
    assert len(body["items"]) == 5
    assert set(body["items"][0]) == {
        "item_id", "title", "topics", "score", "reason", "reason_kind",
    }  # fmt: skip
    assert get(staff, "/api/recommend", user_id=user(0))["source"] == "cache"


def test_items_are_excluded_by_commas_and_by_repetition(staff: APIClient) -> None:
    build_shop()
    first, second = (row["item_id"] for row in get(staff, "/api/recommend", limit=2)["items"])
    for excluded in (f"{first},{second}", [first, second]):
        body = get(staff, "/api/recommend", limit=2, exclude=excluded)
        assert not {first, second} & {row["item_id"] for row in body["items"]}


def test_repeated_exclusion_may_hold_a_comma(staff: APIClient) -> None:
    ContentItem.objects.create(external_id="a,b", title="A, B")
    ContentItem.objects.create(external_id="c", title="C")
    body = get(staff, "/api/recommend", exclude=["a,b", "x"])
    assert [row["item_id"] for row in body["items"]] == ["c"]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"limit": "many"}, {"user_id": "x" * 201}]
)
def test_query_that_makes_no_sense_is_refused(staff: APIClient, query: dict[str, Any]) -> None:
    answer = staff.get("/api/recommend", query)
    assert answer.status_code == 400
    assert set(answer.json()["fields"]) == set(query)


def test_trending_names_the_topics_that_rise(staff: APIClient) -> None:
    build_shop()
    for number in range(30):
        act(f"fan {number}", item(2))
    body = get(staff, "/api/recommend/trending", limit=3)
    assert body["source"] == "trending"
    assert not body["personal"]
    assert [topic["topic"] for topic in body["trending_topics"]] == [topic_of(2)]


def test_trending_of_a_topic(staff: APIClient) -> None:
    build_shop()
    body = get(staff, "/api/recommend/trending", topic="wine")
    assert {row["topics"][0] for row in body["items"]} == {"wine"}


def test_similar_items_are_those_that_the_same_people_like(staff: APIClient) -> None:
    build_shop()
    learn_version()
    body = get(staff, f"/api/items/{item(4)}/similar", limit=5)
    assert body["source"] == "vectors"
    topics = [row["topics"][0] for row in body["items"]]
    assert topics.count(topic_of(4)) >= 4
    scores = [row["score"] for row in body["items"]]
    assert scores == sorted(scores, reverse=True)
    assert item(4) not in {row["item_id"] for row in body["items"]}


def test_hidden_items_are_similar_to_nothing(staff: APIClient) -> None:
    build_shop()
    learn_version()
    first = get(staff, f"/api/items/{item(4)}/similar")["items"][0]["item_id"]
    ContentItem.objects.filter(external_id=first).update(hidden=True)
    body = get(staff, f"/api/items/{item(4)}/similar")
    assert first not in {row["item_id"] for row in body["items"]}


def test_item_without_a_vector_is_like_those_of_its_topics(staff: APIClient) -> None:
    build_shop()
    ContentItem.objects.create(external_id="fresh/rye", title="Fresh", topics=["bread", "rye"])
    body = get(staff, "/api/items/fresh/rye/similar", limit=3)
    assert (body["source"], body["version"]) == ("topics", None)
    assert [(row["topics"], row["score"]) for row in body["items"]] == [(["bread"], 0.5)] * 3


def test_item_without_topics_is_like_nothing(staff: APIClient) -> None:
    ContentItem.objects.create(external_id="blank", title="Blank")
    assert get(staff, "/api/items/blank/similar")["items"] == []


def test_unknown_item_is_not_found(staff: APIClient) -> None:
    answer = staff.get("/api/items/nothing/similar")
    assert answer.status_code == 404
    assert answer.json()["success"] is False
    assert "nothing" in answer.json()["error"]


@pytest.mark.parametrize(
    ("key", "path", "cron"),
    [
        ("warm-recommendations", "recommend/cache/warm", "0 * * * *"),
        ("refresh-cold-start", "recommend/cold-start/refresh", "0 */6 * * *"),
    ],
)
def test_jobs_are_those_of_the_contract(key: str, path: str, cron: str) -> None:
    job = registry[key]
    assert (job.path, job.cron, job.method) == (path, cron, "POST")
    build_shop()
    learn_version()
    outcome = run_job(job, Call(trigger=JobRun.Trigger.COMMAND))
    assert outcome.ending is Ending.DONE
