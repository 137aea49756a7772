from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from recommendations import queue, valkey
from recommendations.models import UserAction
from soloboard.pipeline import pipeline

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_queue() -> None:
    valkey.server().delete(queue.PENDING)


def act(number: int) -> None:
    UserAction.objects.create(
        action_id=f"a{number}",
        user_id="u",
        item_id="i",
        action="view",
        occurred_at=timezone.now(),
    )


def test_board_says_nothing_of_recommendations_before_anybody_acts(admin_client: Client) -> None:
    assert pipeline(timezone.now()) is None
    assert "Actions that wait" not in admin_client.get("/").text


def test_board_shows_what_waits_and_what_was_stored_in_a_day(admin_client: Client) -> None:
    act(1)
    act(2)
    queue.push([{"user_id": "u"}])
    UserAction.objects.filter(action_id="a2").update(
        received_at=timezone.now() - timedelta(hours=25)
    )
    found = pipeline(timezone.now())
    assert found is not None
    assert (found.waiting, found.stored, found.learned_at, found.version) == (1, 1, None, None)
    assert "Actions that wait" in admin_client.get("/").text
    valkey.server().delete(queue.PENDING)
