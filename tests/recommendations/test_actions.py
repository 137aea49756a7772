import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from recommendations.actions import (
    CLOCK_SKEW,
    Action,
    ActionRefused,
    is_about,
    parse,
    read_action,
    rules,
    user_of,
)
from recommendations.core.weights import KIND_STRENGTHS
from recommendations.models import MAX_ID_LENGTH, UserAction
from recommendations.processing import _store
from tests.recommendations.conftest import entry, raw


def read(entry: Any) -> Action:
    return read_action(entry, rules(), spare_id="spare")


def test_an_action_is_read_with_its_time_in_utc() -> None:
    action = read(entry(id="a1", occurred_at="2026-02-07T11:30:00.250+01:00", more={"x": 1}))
    assert action == ("a1", "u1", "i1", "view", datetime(2026, 2, 7, 10, 30, 0, 250_000, UTC))


@pytest.mark.parametrize("fields", [{}, {"id": None}])
def test_an_action_without_an_id_takes_the_spare_one(fields: dict[str, None]) -> None:
    assert read({**entry(), **fields}).action_id == "spare"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ([], "An action must be a JSON object."),
        ("view", "An action must be a JSON object."),
        (entry(user_id=None), "'user_id' is missing."),
        (entry(item_id=None), "'item_id' is missing."),
        (entry(action=None), "'action' is missing."),
        (entry(occurred_at=None), "and is missing."),
        (entry(user_id=42), "'user_id' must be a text, not 42."),
        ({**entry(), "item_id": None}, "'item_id' must be a text, not null."),
        (entry(id=7), "'id' must be a text, not 7."),
        (entry(id=""), "'id' is empty."),
        (entry(user_id=""), "'user_id' is empty."),
        (entry(user_id="x" * 201), "'user_id' has 201 characters; at most 200 are kept."),
        (entry(item_id="a\x00b"), "'item_id' holds a zero byte."),
        (entry(item_id="\ud800"), "'item_id' holds half of a surrogate pair."),
        (entry(action="vieww"), "'action' is \"vieww\"; known are click, dismiss, like,"),
        (entry(action=["view"]), "'action' is [\"view\"]; known are"),
        (entry(occurred_at=1770460200), "like 2026-02-07T10:30:00Z, not 1770460200."),
        (entry(occurred_at="yesterday"), "'occurred_at' is \"yesterday\"; write it like"),
        (entry(occurred_at="2026-02-07T10:30:00"), "lacks its offset from UTC"),
        (entry(occurred_at="1969-12-31T23:59:59Z"), "'occurred_at' is before 1970"),
        (entry(occurred_at="0001-01-01T00:00:00+14:00"), "'occurred_at' is before 1970"),
        (entry(occurred_at="9999-12-31T23:59:59-14:00"), "'occurred_at' is in the future"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused_with_the_reason(wrong: Any, complaint: str) -> None:
    with pytest.raises(ActionRefused) as caught:
        read(wrong)
    assert complaint in str(caught.value)


def test_an_id_may_be_as_long_as_the_column_in_any_alphabet() -> None:
    assert read(entry(user_id="ж" * MAX_ID_LENGTH)).user_id == "ж" * MAX_ID_LENGTH


def test_a_clock_may_be_a_little_ahead() -> None:
    now = datetime.now(UTC)
    assert read(entry(occurred_at=(now + CLOCK_SKEW - timedelta(minutes=1)).isoformat()))
    with pytest.raises(ActionRefused, match="in the future"):
        read(entry(occurred_at=(now + CLOCK_SKEW + timedelta(minutes=1)).isoformat()))


@pytest.mark.parametrize(
    "unreadable", [b"", b"{", b'{"a": nul}', b"\xff\xfe\xfa", b"[" * 100_000, b"9" * 5_000]
)
def test_what_is_no_json_is_refused(unreadable: bytes) -> None:
    with pytest.raises(ActionRefused, match="It is not"):
        parse(unreadable)


def test_blanks_around_an_entry_do_no_harm() -> None:
    assert read(parse(b" \n" + raw(id="a1") + b"\r\n")).action_id == "a1"


def test_further_kinds_come_from_the_settings(settings: Settings) -> None:
    with pytest.raises(ActionRefused):
        read(entry(action="listen"))
    settings.ACTION_WEIGHTS = {**settings.ACTION_WEIGHTS, "listen": 1.5}
    assert read(entry(action="listen")).action == "listen"


def test_the_kinds_weigh_what_the_engine_was_measured_with(settings: Settings) -> None:
    assert settings.ACTION_WEIGHTS == KIND_STRENGTHS


def test_whom_an_entry_is_about_is_found_whatever_else_is_wrong() -> None:
    assert is_about(raw(user_id="u1", action="nonsense"), "u1")
    assert not is_about(raw(user_id="u10"), "u1")
    assert not is_about(raw(item_id="u1", user_id="u2"), "u1")
    assert is_about(b'{"user_id": "u1", "item', "u1")
    assert is_about('{"user_id": "ж", "item'.encode(), "ж")
    assert user_of({"user_id": 42}) == "42"
    assert user_of({"user_id": "\x00"}) == user_of({"user_id": ["u1"]}) == user_of(None) == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TIMES = st.datetimes(timezones=st.timezones() | st.just(UTC)).map(datetime.isoformat)
NEARLY = st.fixed_dictionaries(
    {
        "user_id": st.text(st.characters(codec=None), max_size=MAX_ID_LENGTH + 1),
        "item_id": st.text(max_size=MAX_ID_LENGTH + 1),
        "action": st.sampled_from(["view", "dismiss", "x"]),
        "occurred_at": TIMES | st.just("2026-02-07T10:30:00+01:00:30.5"),
    },
    optional={"id": st.text(min_size=1) | JSON},
)


@pytest.mark.django_db
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(entry=JSON | NEARLY)
def test_whatever_is_accepted_can_be_stored_as_it_is(entry: Any) -> None:
    try:
        action = read(parse(json.dumps(entry).encode()))
    except ActionRefused:
        return
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE user_actions")
    assert _store([action]) == 1
    names = ("action_id", "user_id", "item_id", "action", "occurred_at")
    assert UserAction.objects.values_list(*names).get() == action
