import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from redis.exceptions import ConnectionError as RedisConnectionError

from recommendations import api, queue
from recommendations.models import ContentItem, UserAction, UserEmbedding
from tests.recommendations.conftest import WHEN, Drain, entry

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis")]

ACTIONS, ITEMS = "/api/actions", "/api/items"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def post(client: Client, path: str, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, content, content_type="application/json", headers=headers)


def error_of(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.content
    body = answer.json()
    assert body["success"] is False
    assert TIMESTAMP.fullmatch(body["timestamp"])
    return str(body["error"])


# --- Actions --------------------------------------------------------------------------------------


def test_one_action_is_queued_as_a_producer_would_write_it(application: Client, redis: Any) -> None:
    answer = post(application, ACTIONS, entry(id="a1", session="of no interest"))
    assert answer.status_code == 202
    body = answer.json()
    assert TIMESTAMP.fullmatch(body.pop("timestamp"))
    assert body == {"success": True, "queued": 1, "errors": []}
    (queued,) = map(json.loads, redis.lrange(queue.PENDING, 0, -1))
    assert queued == entry(id="a1", occurred_at="2026-02-07T10:30:00+00:00")


def test_an_action_without_an_id_gets_one_before_it_is_queued(
    application: Client, redis: Any, drain: Drain
) -> None:
    post(application, ACTIONS, [entry(), entry()])
    post(application, ACTIONS, entry())
    # What redis-py does when the answer to a push gets lost.
    redis.rpush(queue.PENDING, *redis.lrange(queue.PENDING, 0, -1))
    assert drain().counts["processed"] == 3


def test_invalid_entries_are_reported_by_index_and_the_others_kept(
    application: Client, drain: Drain
) -> None:
    answer = post(
        application, ACTIONS, [entry(id="a0"), entry(user_id=7), entry(id="a2"), "x", entry(action="y")]
    )  # fmt: skip
    assert answer.status_code == 202
    body = answer.json()
    assert body["queued"] == 2
    assert [error["index"] for error in body["errors"]] == [1, 3, 4]
    assert body["errors"][0]["error"] == "'user_id' must be a text, not 7."
    drain()
    assert set(UserAction.objects.values_list("action_id", flat=True)) == {"a0", "a2"}


def test_a_request_of_which_nothing_is_valid_is_refused(application: Client) -> None:
    assert error_of(post(application, ACTIONS, entry(user_id=None)), 400) == "'user_id' is missing."
    answer = post(application, ACTIONS, [{}, 1])
    assert error_of(answer, 400) == "None of the actions is valid."
    assert [error["index"] for error in answer.json()["errors"]] == [0, 1]
    assert post(application, ACTIONS, []).json()["queued"] == 0
    assert queue.depth() == 0


def test_a_request_holds_up_to_a_thousand_actions(application: Client) -> None:
    assert post(application, ACTIONS, [entry()] * 1_000).json()["queued"] == 1_000
    answer = post(application, ACTIONS, [entry()] * 1_001)
    assert "at most 1,000 actions; these are 1,001" in error_of(answer, 413)
    assert queue.depth() == 1_000


def test_a_request_is_one_push(application: Client, redis: Any) -> None:
    before = redis.info("commandstats").get("cmdstat_rpush", {"calls": 0})["calls"]
    post(application, ACTIONS, [entry()] * 100)
    assert redis.info("commandstats")["cmdstat_rpush"]["calls"] == before + 1


def test_a_get_tells_the_kinds_and_what_waits(application: Client, settings: Settings) -> None:
    post(application, ACTIONS, [entry(), entry()])
    assert application.get(ACTIONS).json() == {"kinds": settings.ACTION_WEIGHTS, "waiting": 2}


@pytest.mark.parametrize("path", [ACTIONS, ITEMS])
@pytest.mark.parametrize(
    "body", [b"{", b"nul", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b"9" * 5_000]
)
def test_malformed_json_is_a_bad_request(application: Client, path: str, body: bytes) -> None:
    error_of(post(application, path, body), 400)


@pytest.mark.parametrize("path", [ACTIONS, ITEMS])
def test_a_body_that_is_too_large_is_refused(
    application: Client, settings: Settings, path: str
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000
    answer = post(application, path, [entry()] * 50)
    assert error_of(answer, 413) == "The body is larger than 1000 bytes."


def test_a_body_in_chunks_is_asked_for_with_its_length(application: Client) -> None:
    answer = application.generic("POST", ACTIONS, headers={"Transfer-Encoding": "chunked"})
    assert "Content-Length" in error_of(answer, 411)


def test_other_types_and_methods_are_refused_in_words(application: Client) -> None:
    error_of(application.post(ACTIONS, {"user_id": "u1"}, content_type="text/plain"), 415)
    error_of(application.put(ACTIONS), 405)


def test_redis_that_is_away_is_503(application: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise RedisConnectionError

    monkeypatch.setattr(queue, "push", away)
    answer = post(application, ACTIONS, entry())
    assert error_of(answer, 503) == "The database or Redis is away."
    assert answer.headers["Retry-After"]


def test_a_session_needs_its_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert "CSRF" in error_of(post(client, ACTIONS, entry()), 403)


# --- Content --------------------------------------------------------------------------------------


def item(**fields: Any) -> dict[str, Any]:
    return {"external_id": "i1", "title": "First", **fields}


def test_an_item_is_created_read_changed_and_deleted(application: Client) -> None:
    created = post(application, ITEMS, item(topics=["a", "b"], text="Long"))
    assert created.status_code == 201
    assert created.json()["topics"] == ["a", "b"]
    assert application.get(f"{ITEMS}/i1").json() == created.json()
    changed = application.patch(
        f"{ITEMS}/i1", {"hidden": True}, content_type="application/json"
    ).json()
    assert (changed["hidden"], changed["text"]) == (True, "Long")
    replaced = application.put(
        f"{ITEMS}/i1", item(title="Second"), content_type="application/json"
    ).json()
    assert replaced["title"] == "Second"
    assert [row["external_id"] for row in application.get(ITEMS).json()["results"]] == ["i1"]
    assert application.delete(f"{ITEMS}/i1").status_code == 204
    error_of(application.get(f"{ITEMS}/i1"), 404)


@pytest.mark.parametrize("external_id", ["a.b", "ж ж", "100%", "a:b@c", "."])
def test_an_id_is_any_text_without_slashes(application: Client, external_id: str) -> None:
    assert post(application, ITEMS, item(external_id=external_id)).status_code == 201
    answer = application.get(f"{ITEMS}/{quote(external_id, safe='')}")
    assert answer.json()["external_id"] == external_id


def test_a_post_of_a_known_item_updates_it(application: Client) -> None:
    post(application, ITEMS, item(text="kept"))
    answer = post(application, ITEMS, item(title="Newer"))
    assert answer.status_code == 200
    assert (answer.json()["title"], answer.json()["text"]) == ("Newer", "kept")


def test_an_item_keeps_its_id(application: Client) -> None:
    post(application, ITEMS, item())
    answer = application.patch(
        f"{ITEMS}/i1", {"external_id": "i2"}, content_type="application/json"
    )
    error_of(answer, 400)
    assert answer.json()["fields"] == {"external_id": ["An item keeps its id; add another item."]}


def test_thousands_are_upserted_and_each_failure_is_reported(
    application: Client, django_assert_max_num_queries: Any
) -> None:
    entries = [item(external_id=f"i{number}", topics=[f"t{number % 7}"]) for number in range(3_000)]
    entries[7] = {"external_id": "i7"}
    entries[8] = item(external_id="a/b", topics="x")
    entries[9] = 12  # type: ignore[call-overload]
    # The token and its use, three chunks, and a transaction around them.
    with django_assert_max_num_queries(8):
        answer = post(application, ITEMS, entries)
    assert answer.status_code == 200
    body = answer.json()
    assert body["saved"] == 2_997 == ContentItem.objects.count()
    assert [error["index"] for error in body["errors"]] == [7, 8, 9]
    assert body["errors"][0]["error"] == "title: This field is required."
    assert "holds no slash" in body["errors"][1]["error"]
    assert "topics: Expected a list" in body["errors"][1]["error"]


def test_what_an_entry_leaves_out_keeps_what_is_stored(application: Client) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    ContentItem.objects.create(
        external_id="i1", title="Old", topics=["a"], hidden=True, published_at=long_ago
    )
    before = timezone.now()
    post(application, ITEMS, [item(title="New"), item(external_id="i2", topics=["b"])])
    old, new = ContentItem.objects.order_by("external_id")
    assert (old.title, old.topics, old.hidden, old.published_at) == ("New", ["a"], True, long_ago)
    assert (new.topics, new.hidden, new.expires_at) == (["b"], False, None)
    assert new.published_at >= before
    assert old.updated_at >= before


def test_of_two_entries_for_one_item_the_later_wins(application: Client) -> None:
    answer = post(application, ITEMS, [item(text="x", hidden=True), item(title="Later", text="y")])
    assert answer.json()["saved"] == 2
    stored = ContentItem.objects.get()
    assert (stored.title, stored.text, stored.hidden) == ("Later", "y", True)


def test_a_request_holds_up_to_five_thousand_items(
    application: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MAX_ITEMS", 2)
    answer = post(application, ITEMS, [item()] * 3)
    assert "at most 2 items; these are 3" in error_of(answer, 413)
    assert error_of(post(application, ITEMS, [{}, {}]), 400) == "None of the items is valid."


@pytest.mark.parametrize(
    "wrong", [{"title": "a\x00b"}, {"text": "\ud800"}, {"topics": ["\x00"]}, {"expires_at": "x"}]
)
def test_what_cannot_be_stored_is_said_at_its_field(
    application: Client, wrong: dict[str, Any]
) -> None:
    answer = post(application, ITEMS, item(**wrong))
    error_of(answer, 400)
    assert set(answer.json()["fields"]) == set(wrong)
    (error,) = post(application, ITEMS, [item(**wrong), item()]).json()["errors"]
    assert error["index"] == 0
    assert error["error"].startswith(next(iter(wrong)))


# --- Users ----------------------------------------------------------------------------------------


def test_a_user_is_forgotten_by_a_call_that_may_be_repeated(
    application: Client, drain: Drain
) -> None:
    post(application, ACTIONS, [entry(), entry(user_id="u2")])
    drain()
    post(application, ACTIONS, entry(occurred_at=WHEN))
    answer = application.delete("/api/users/u1")
    assert answer.status_code == 200
    assert answer.json()["deleted"] == {
        "actions": 1, "embeddings": 0, "cached_lists": 0, "queued": 1, "quarantined": 0,
    }  # fmt: skip
    assert set(application.delete("/api/users/u1").json()["deleted"].values()) == {0}
    assert UserAction.objects.get().user_id == "u2"
    assert not UserEmbedding.objects.exists()


@pytest.mark.parametrize("user_id", ["a/b", "ж", "a b", "?"])
def test_the_id_in_the_address_is_any_text(application: Client, user_id: str) -> None:
    post(application, ACTIONS, entry(user_id=user_id))
    answer = application.delete(f"/api/users/{quote(user_id, safe='')}")
    assert answer.json()["deleted"]["queued"] == 1


def test_who_carries_no_token_forgets_nobody() -> None:
    error_of(Client().delete("/api/users/u1"), 401)
