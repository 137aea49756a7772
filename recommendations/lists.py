"""Lists that were made before they are asked for, in Valkey, and how often that helped."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from redis import Redis

from recommendations.valkey import ask, server

KEY = "soloboard:recommend:list:{user_id}"
HITS_KEY = "soloboard:recommend:hits"
MISSES_KEY = "soloboard:recommend:misses"
#: More than anybody asks for at once, since what a user has seen meanwhile falls away.
LIST_LENGTH = 200
#: Lists are made every hour; those of a missed run are better than none.
LIST_TTL_S = 6 * 3600


Kind = Literal["because", "trending", "popular", "new"]


class Listed(NamedTuple):
    """An entry of a list. kind: of its reason.

    because_of: for "because", the own item that adds most to the score; action: what the user did
        with it.
    """

    item_id: str
    score: float
    kind: Kind
    because_of: str = ""
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class CachedList:
    """A user's best items, best first, as one version saw them. made_at: unix seconds."""

    version_id: int
    made_at: float
    entries: list[Listed]

    @classmethod
    def now(cls, version_id: int, entries: list[Listed]) -> Self:
        return cls(version_id=version_id, made_at=time.time(), entries=entries)

    @property
    def age_s(self) -> float:
        return max(0.0, time.time() - self.made_at)

    def as_text(self) -> str:
        # A user's many entries have few reasons, so each of those is written once.
        reasons = list(dict.fromkeys(entry[2:] for entry in self.entries))
        numbers = {reason: number for number, reason in enumerate(reasons)}
        rows = [
            (entry.item_id, round(entry.score, 4), numbers[entry[2:]]) for entry in self.entries
        ]
        body = {
            "version": self.version_id, "made_at": self.made_at, "reasons": reasons, "entries": rows,
        }  # fmt: skip
        return json.dumps(body, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: bytes | str) -> Self:
        body = json.loads(text)
        reasons = body["reasons"]
        return cls(
            version_id=body["version"],
            made_at=body["made_at"],
            entries=[
                Listed(item_id, score, *reasons[number])
                for item_id, score, number in body["entries"]
            ],
        )


def read(user_id: str) -> CachedList | None:
    """The user's list, or None when there is none or Valkey is away."""
    text = ask(lambda redis: redis.get(KEY.format(user_id=user_id)))
    return CachedList.from_text(text) if text else None


def write(user_id: str, made: CachedList) -> None:
    """Keep a list that was made for a request; without Valkey the next one makes it again."""
    ask(lambda redis: _set(redis, user_id, made))


def write_many(made: Iterable[tuple[str, CachedList]]) -> int:
    """Keep lists, all in one round trip. Returns how many; raises RedisError."""
    pipeline = server().pipeline(transaction=False)
    for user_id, entries in made:
        _set(pipeline, user_id, entries)
    return len(pipeline.execute())


def forget(user_id: str) -> None:
    """Remove what is kept of a user. Raises RedisError, since it must not seem done when it is not."""
    server().delete(KEY.format(user_id=user_id))


def count(*, hit: bool) -> None:
    """Count a personal list that was there, or was not."""
    ask(lambda redis: redis.incr(HITS_KEY if hit else MISSES_KEY))


def take_counts() -> tuple[int, int]:
    """(hits, misses) since they were last taken. Raises RedisError."""
    pipeline = server().pipeline(transaction=True)
    pipeline.getdel(HITS_KEY)
    pipeline.getdel(MISSES_KEY)
    hits, misses = pipeline.execute()
    return int(hits or 0), int(misses or 0)


def _set(redis: Redis, user_id: str, made: CachedList) -> None:
    redis.set(KEY.format(user_id=user_id), made.as_text(), ex=LIST_TTL_S)
