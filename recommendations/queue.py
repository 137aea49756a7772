"""The list `pending_user_actions` in Redis: push, claim, read, acknowledge.

A processor claims everything that is pending at once, by renaming the list: one step, however long
it is. A claim is a list that nobody adds to, worked off from its head, so an entry's distance from
the end stays what it is until the entry is gone. That distance makes everything here safe to
repeat, which matters because Redis may have done what its lost answer would have said, and because
a processor that was only slow may wake up beside the one that took over its claim:

- What follows a batch can be read before the batch is gone.
- To acknowledge is to keep the last n entries. Whoever does it again, or late, removes nothing more.
- An action without an id of its own gets one from the claim and the distance. Taken twice, it is
  the same action; two equal entries that were pushed stay two.

A claim has a lease. It is registered before it is made, so no instant leaves one that nobody finds.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recommendations.valkey import server

PENDING = "pending_user_actions"
#: A sorted set: the ids of the claims by the end of their leases, in seconds since 1970.
CLAIMS = f"{PENDING}:claims"
#: How often entries were blanked.
BLANKINGS = f"{PENDING}:blankings"
#: Much longer than it takes to store what is read at a time; every read extends it.
LEASE_S = 60.0
#: Stands where the action of a forgotten user stood. No JSON, and not empty, so nobody pushes it.
FORGOTTEN = b"\x00forgotten"
SCANNED_AT_A_TIME = 5_000


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A part of the queue that a processor works off."""

    id: str

    @property
    def key(self) -> str:
        return f"{PENDING}:claim:{self.id}"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Entries of a claim. kept: how many follow. generation: how often something was blanked before
    they were read.
    """

    claim: Claim
    entries: Sequence[bytes]
    kept: int
    generation: int

    def numbered(self) -> Iterator[tuple[str, bytes]]:
        """Each entry with the id that is its own however often it is read."""
        length = len(self.entries) + self.kept
        for index, entry in enumerate(self.entries):
            yield f"{self.claim.id}-{length - index}", entry


def new_id() -> str:
    """A unique id. It begins with the time, so that the index of the actions grows at its end."""
    return f"{time.time_ns() // 1000:014x}{secrets.token_hex(8)}"


# --- For producers --------------------------------------------------------------------------------


def push(entries: Sequence[Mapping[str, Any]]) -> None:
    """Append entries, in one command. Each should carry its id: redis-py pushes again when the
    answer got lost.
    """
    if entries:
        # Letters beyond ASCII are escaped, so half of a surrogate pair can be pushed too.
        server().rpush(PENDING, *(json.dumps(entry, separators=(",", ":")) for entry in entries))


def push_raw(entries: Sequence[bytes]) -> None:
    """Append entries as they are."""
    if entries:
        server().rpush(PENDING, *entries)


def depth() -> int:
    """How many entries wait, those in claims included."""
    waiting = server().pipeline(transaction=False)
    waiting.llen(PENDING)
    for claim in claims():
        waiting.llen(claim.key)
    return int(sum(waiting.execute()))


def claims() -> list[Claim]:
    """All claims, whoever works on them."""
    return [Claim(id=name.decode()) for name in server().zrange(CLAIMS, 0, -1)]


# --- For the processor ----------------------------------------------------------------------------


def claim() -> Claim | None:
    """Take what a processor left behind, or else everything that is pending; None if that is none.

    Two that ask at the same instant may be given the same left claim. That costs work and changes
    nothing.
    """
    return _take_over() or _claim_pending()


def read(claim: Claim, limit: int) -> Batch:
    """Look at the head of a claim, and keep the claim for another lease."""
    return _read(claim, server().llen(claim.key), limit)


def read_after(batch: Batch, limit: int) -> Batch:
    """Look at what follows a batch that something follows, whether it is acknowledged or not."""
    return _read(batch.claim, batch.kept, limit)


def read_again(batch: Batch) -> Batch:
    """Look once more at the places of a batch."""
    length = len(batch.entries)
    return _read(batch.claim, batch.kept + length, length)


def _read(claim: Claim, distance: int, limit: int) -> Batch:
    """Look at so many entries from that distance from the end on."""
    kept = max(distance - limit, 0)
    reading = server().pipeline()
    reading.zadd(CLAIMS, {claim.id: _now_s() + LEASE_S}, xx=True)
    reading.get(BLANKINGS)
    reading.lrange(claim.key, -distance, -kept - 1)
    _, blankings, entries = reading.execute()
    return Batch(claim=claim, entries=entries, kept=kept, generation=int(blankings or 0))


def is_current(batch: Batch) -> bool:
    """Whether nothing was blanked since it was read."""
    return int(server().get(BLANKINGS) or 0) == batch.generation


def acknowledge(batch: Batch) -> None:
    """Remove what was read, now that it is stored elsewhere."""
    redis = server()
    if batch.kept:
        redis.ltrim(batch.claim.key, -batch.kept, -1)
        return
    removing = redis.pipeline()
    removing.delete(batch.claim.key)
    removing.zrem(CLAIMS, batch.claim.id)
    removing.execute()


def release(claim: Claim) -> None:
    """Leave the rest of a claim to whoever asks next."""
    server().zadd(CLAIMS, {claim.id: 0}, xx=True)


# --- For forgetting -------------------------------------------------------------------------------


def blank(is_meant: Callable[[bytes], bool]) -> int:
    """Put FORGOTTEN in the place of every waiting entry that is meant. Returns how many there were.

    Nobody may be between is_current() and the commit meanwhile; forgetting.py sees to that.
    """
    # In a claim the places are stable.
    _claim_pending(lease_s=0)
    blanked = sum(_blank_in(claim, is_meant) for claim in claims())
    # Last, so that a batch is not current if a single mark came after it was read.
    server().incr(BLANKINGS)
    return blanked


def _blank_in(claim: Claim, is_meant: Callable[[bytes], bool]) -> int:
    redis = server()
    blanked = 0
    for last in range(1, redis.llen(claim.key) + 1, SCANNED_AT_A_TIME):
        entries = redis.lrange(claim.key, -(last + SCANNED_AT_A_TIME - 1), -last)
        blanking = redis.pipeline()
        for distance, entry in enumerate(reversed(entries), start=last):
            if is_meant(entry):
                blanking.lset(claim.key, -distance, FORGOTTEN)
        # A place that is gone by now was acknowledged, so its action is in the database.
        blanked += sum(done is True for done in blanking.execute(raise_on_error=False))
    return blanked


# --- Claims ---------------------------------------------------------------------------------------


def _take_over() -> Claim | None:
    redis = server()
    while ended := redis.zrangebyscore(CLAIMS, "-inf", _now_s(), start=0, num=1):
        claim = Claim(id=ended[0].decode())
        taking = redis.pipeline()
        # Only if it is still there: its processor may be done by now.
        taking.zadd(CLAIMS, {claim.id: _now_s() + LEASE_S}, xx=True)
        taking.llen(claim.key)
        if taking.execute()[1]:
            return claim
        redis.zrem(CLAIMS, claim.id)  # Whoever registered it died before there was anything in it.
    return None


def _claim_pending(*, lease_s: float | None = None) -> Claim | None:
    redis = server()
    if not redis.exists(PENDING):
        return None
    claim = Claim(id=new_id())
    lease_end_s = _now_s() + (LEASE_S if lease_s is None else lease_s)
    making = redis.pipeline()
    making.zadd(CLAIMS, {claim.id: lease_end_s})
    # NX: when it is repeated because its answer got lost, it must not replace the claim that it
    # made by what was pushed since.
    making.renamenx(PENDING, claim.key)
    making.llen(claim.key)
    # The renaming fails if somebody else was faster. Only the length tells what there is.
    if making.execute(raise_on_error=False)[2]:
        return claim
    redis.zrem(CLAIMS, claim.id)
    return None


def _now_s() -> float:
    """The time by Redis's clock, on which all processors agree."""
    seconds, microseconds = server().time()
    return float(seconds + microseconds / 1e6)
