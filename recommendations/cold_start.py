"""Lists for people of whom nothing is known: what is trending, what is popular, what is new.

The refresh keeps them in Valkey, for everything and for each topic. When they are not there, or
too little of them is left for somebody, the same order comes from the database.
"""

import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from django.db import connection
from django.utils import timezone
from redis import Redis

from recommendations import signals
from recommendations.core.trending import TopicTrends, TopicTrendSettings, rising_topics
from recommendations.lists import Listed
from recommendations.models import LISTABLE
from recommendations.valkey import ask, server
from scheduling.run import JobResult, Run

#: A hash; its fields are trending, popular, trending:TOPIC, popular:TOPIC and topics.
KEY = "soloboard:recommend:cold-start"
TTL_S = 24 * 3600
LENGTH = 500
LENGTH_OF_A_TOPIC = 100
#: A decayed count below which nobody would call an item trending: one liking, four half-lives ago.
TRENDING_FROM = 0.0625
# Actions older than so many long half-lives are less than a thousandth of a topic's usual rate.
HALF_LIVES_READ = 10

LEADERS = f"""
    SELECT c.external_id, s.trending, s.popularity
    FROM item_signals s JOIN content_items c ON c.external_id = s.item_id
    WHERE {LISTABLE} AND {{condition}}
    ORDER BY {{order}} DESC, c.id LIMIT %(limit)s
"""  # noqa: S608 - Nothing but the text above goes in.
TOPIC_LEADERS = f"""
    SELECT topic, external_id, trending, popularity FROM (
        SELECT topic, c.external_id, s.trending, s.popularity,
               row_number() OVER (PARTITION BY topic ORDER BY {{order}} DESC, c.id) AS place
        FROM item_signals s JOIN content_items c ON c.external_id = s.item_id
        CROSS JOIN LATERAL unnest(c.topics) AS topic
        WHERE {LISTABLE} AND {{condition}}
    ) AS placed
    WHERE place <= %(limit)s ORDER BY topic, place
"""  # noqa: S608 - Nothing but the text above goes in.
ORDERS = {
    "trending": {"order": "s.trending", "condition": f"s.trending >= {TRENDING_FROM}"},
    "popular": {"order": "s.popularity", "condition": "s.popularity > 0"},
}
# Everything that may be listed, in the order in which the lists above would go on.
WHOLE_CATALOGUE = f"""
    SELECT c.external_id, coalesce(s.trending, 0), coalesce(s.popularity, 0)
    FROM content_items c LEFT JOIN item_signals s ON s.item_id = c.external_id
    WHERE {LISTABLE} AND (%(topic)s = '' OR c.topics @> ARRAY[%(topic)s]::varchar[])
      AND (%(days)s = 0 OR c.published_at > statement_timestamp() - make_interval(days => %(days)s))
      AND c.external_id <> ALL(%(without)s::varchar[])
      AND c.external_id NOT IN (SELECT a.item_id FROM user_actions a WHERE a.user_id = %(user_id)s)
    ORDER BY CASE WHEN s.trending >= {TRENDING_FROM} THEN s.trending ELSE 0 END DESC NULLS LAST,
             s.popularity DESC NULLS LAST, c.published_at DESC, c.id
    LIMIT %(limit)s
"""  # noqa: S608 - Nothing but the text above goes in.
TOPIC_COUNTS = """
    SELECT topic, sum(power(0.5, age_s / %(short_s)s)), sum(power(0.5, age_s / %(long_s)s))
    FROM (
        SELECT unnest(c.topics) AS topic,
               extract(epoch FROM %(at)s - a.occurred_at)::float8 AS age_s
        FROM user_actions a JOIN content_items c ON c.external_id = a.item_id
        WHERE a.action = ANY(%(likings)s) AND a.occurred_at <= %(at)s
          AND a.occurred_at > %(at)s - make_interval(secs => %(reach_s)s)
    ) AS counted
    GROUP BY topic ORDER BY topic
"""


class Leader(NamedTuple):
    """An item with its decayed and its whole number of likings."""

    item_id: str
    trending: float
    popularity: float

    def listed(self) -> Listed:
        if self.trending >= TRENDING_FROM:
            return Listed(self.item_id, self.trending, "trending")
        return Listed(self.item_id, self.popularity, "popular" if self.popularity else "new")


class RisingTopic(NamedTuple):
    """rise: standard deviations above the usual number. present, usual: decayed numbers of likings."""

    topic: str
    rise: float
    present: float
    usual: float


@dataclass(frozen=True, kw_only=True)
class Leaders:
    """What is trending, then what is popular. made_at: unix seconds."""

    made_at: float
    entries: list[Leader]

    @property
    def age_s(self) -> float:
        return max(0.0, time.time() - self.made_at)


def refresh(run: Run) -> JobResult:
    """The job. Raises RedisError."""
    started = time.monotonic()
    counts = renew()
    counts["milliseconds"] = round((time.monotonic() - started) * 1000)
    return JobResult(message="Cold-start lists refreshed", counts=counts)


def renew() -> dict[str, int]:
    """Count likings again and keep the lists that follow from them. Raises RedisError."""
    refreshed = signals.refresh()
    rising = find_rising_topics()
    fields = _all_fields(refreshed.at.timestamp(), rising)
    _replace(server(), fields)
    return {
        "items": refreshed.items,
        "topics": sum(field.startswith("popular:") for field in fields),
        "trending_topics": len(rising),
    }


def read(topic: str = "") -> Leaders:
    """The lists for everybody, from Valkey or else from the database."""
    names = [f"{kind}:{topic}" if topic else kind for kind in ORDERS]
    kept = ask(lambda redis: redis.hmget(KEY, names))
    bodies = [json.loads(body) for body in kept or [] if body]
    if not bodies:
        return _read_from_database(topic)
    entries = {row[0]: Leader(*row) for body in reversed(bodies) for row in body["entries"]}
    order = dict.fromkeys(row[0] for body in bodies for row in body["entries"])
    made_at = bodies[0]["made_at"]
    return Leaders(made_at=made_at, entries=[entries[item_id] for item_id in order])


def read_rising_topics() -> list[RisingTopic]:
    """Topics that are more alive than usual, the one that rose most first."""
    kept = ask(lambda redis: redis.hget(KEY, "topics"))
    if kept:
        return [RisingTopic(*row) for row in json.loads(kept)["entries"]]
    return find_rising_topics()


def from_catalogue(
    *,
    limit: int,
    topic: str = "",
    user_id: str = "",
    without: Collection[str] = (),
    days: int = 0,
) -> list[Leader]:
    """The first of everything that may be listed and that the user has not seen.

    days: only what was published in so many last days; 0 for everything.
    """
    values: dict[str, Any] = {
        "limit": limit, "topic": topic, "user_id": user_id, "without": list(without), "days": days,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(WHOLE_CATALOGUE, values)
        return [Leader(*row) for row in cursor.fetchall()]


def find_rising_topics() -> list[RisingTopic]:
    """Compare each topic's likings of late with its own usual number of them."""
    settings = TopicTrendSettings()
    at = timezone.now()
    values: dict[str, Any] = {
        "at": at,
        "likings": signals.likings(),
        "short_s": settings.half_life_s,
        "long_s": settings.usual_half_life_s,
        "reach_s": HALF_LIVES_READ * settings.usual_half_life_s,
    }
    with connection.cursor() as cursor:
        cursor.execute(TOPIC_COUNTS, values)
        rows = cursor.fetchall()
        cursor.execute("SELECT min(occurred_at) FROM user_actions")
        (first_at,) = cursor.fetchone()
    if not rows:
        return []
    topics, present, past = zip(*rows, strict=True)
    found = rising_topics(
        np.array(present),
        np.array(past),
        reach_s=(at - first_at).total_seconds(),
        settings=settings,
    )
    return [RisingTopic(*row) for row in _rows_of(found, topics)]


def _rows_of(
    found: TopicTrends, topics: Sequence[str]
) -> Iterator[tuple[str, float, float, float]]:
    columns = (found.topics, found.rises, found.present, found.usual)
    for topic, rise, present, usual in zip(*(c.tolist() for c in columns), strict=True):
        yield topics[topic], round(rise, 2), round(present, 2), round(usual, 2)


def _read_from_database(topic: str) -> Leaders:
    if signals.refreshed_at() is None:
        signals.refresh()
    at = signals.refreshed_at() or timezone.now()
    limit = LENGTH_OF_A_TOPIC if topic else LENGTH
    return Leaders(made_at=at.timestamp(), entries=from_catalogue(limit=limit, topic=topic))


def _all_fields(made_at: float, rising: list[RisingTopic]) -> dict[Any, Any]:
    """The fields of the hash: name and JSON."""
    found: dict[str, list[tuple[Any, ...]]] = {"topics": list(rising)}
    with connection.cursor() as cursor:
        for kind, words in ORDERS.items():
            cursor.execute(LEADERS.format(**words), {"limit": LENGTH})
            found[kind] = cursor.fetchall()
            cursor.execute(TOPIC_LEADERS.format(**words), {"limit": LENGTH_OF_A_TOPIC})
            for topic, *row in cursor.fetchall():
                found.setdefault(f"{kind}:{topic}", []).append(tuple(row))
    return {
        name: json.dumps({"made_at": made_at, "entries": rows}, separators=(",", ":"))
        for name, rows in found.items()
    }


def _replace(redis: Redis, fields: dict[Any, Any]) -> None:
    """All at once: a reader sees the old lists or the new ones."""
    pipeline = redis.pipeline(transaction=True)
    pipeline.delete(KEY)
    pipeline.hset(KEY, mapping=fields)
    pipeline.expire(KEY, TTL_S)
    pipeline.execute()
