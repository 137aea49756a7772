from datetime import UTC, datetime

import pytest
from django.utils import timezone

from recommendations import content, queue, valkey
from recommendations.actions import read_action, rules
from recommendations.models import ContentItem
from scheduling.run import Run
from soloboard.demo_readers import PREFIX, READERS, TOPICS, articles, history, visits
from soloboard.jobs import simulate_readers

NOW = datetime(2026, 2, 7, 10, 30, tzinfo=UTC)
ITEMS = [article["external_id"] for article in articles(NOW)]


def test_everything_that_readers_do_is_an_action_of_known_readers_and_articles() -> None:
    actions = history(ITEMS, NOW) + visits(ITEMS, NOW, 5)
    for number, action in enumerate(actions):
        read_action(action, rules(), spare_id=str(number))
    assert len({action["user_id"] for action in actions}) == READERS
    assert {action["item_id"] for action in actions} <= set(ITEMS)


def test_readers_mostly_read_their_favourite_topic() -> None:
    topic = next(iter(TOPICS))
    read = [action["item_id"] for action in history(ITEMS, NOW) if action["user_id"] == "reader-0"]
    own = sum(item.startswith(f"{PREFIX}{topic}") for item in read)
    assert own > len(read) / 2


@pytest.mark.django_db
def test_readers_read_while_the_magazine_is_there() -> None:
    run = Run(id=1, payload={}, deadline=0.0, report=lambda done, total: None)
    before = queue.depth()
    assert simulate_readers(run).counts == {"actions": 0}
    assert content.upsert(list(articles(timezone.now()))) == []
    assert simulate_readers(run).counts["actions"] >= 5
    assert queue.depth() - before >= 5
    assert ContentItem.objects.count() == len(ITEMS)
    valkey.server().delete(queue.PENDING)
