from typing import Any

import pytest

from recommendations import queue
from tests.recommendations.conftest import entry

pytestmark = pytest.mark.usefixtures("redis")


def push(*entries: bytes) -> None:
    queue.push_raw(entries)


def claimed() -> queue.Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def test_producers_and_the_queue_agree_on_one_plain_list(redis: Any) -> None:
    queue.push([entry(user_id="ж\ud800")])
    assert redis.lrange("pending_user_actions", 0, -1) == [
        b'{"user_id":"\\u0436\\ud800","item_id":"i1","action":"view",'
        b'"occurred_at":"2026-02-07T10:30:00Z"}'
    ]


def test_a_claim_takes_everything_that_is_pending_once() -> None:
    push(b"1", b"2")
    batch = queue.read(claimed(), 10)
    assert (batch.entries, batch.kept) == ([b"1", b"2"], 0)
    assert queue.claim() is None
    push(b"3")
    assert queue.read(claimed(), 10).entries == [b"3"]


def test_nothing_is_left_in_redis_when_all_is_acknowledged(redis: Any) -> None:
    push(b"1", b"2", b"3")
    claim = claimed()
    for kept in (1, 0):
        batch = queue.read(claim, 2)
        assert batch.kept == kept
        queue.acknowledge(batch)
    assert redis.keys(f"{queue.PENDING}*") == []
    assert queue.claim() is None


def test_acknowledging_again_or_late_removes_nothing_more() -> None:
    push(b"1", b"2", b"3", b"4")
    claim = claimed()
    slow = queue.read(claim, 2)
    queue.acknowledge(slow)
    queue.acknowledge(slow)
    assert queue.read(claim, 1).entries == [b"3"]
    queue.acknowledge(queue.read(claim, 1))
    queue.acknowledge(slow)
    last = queue.read(claim, 9)
    assert last.entries == [b"4"]
    push(b"5")
    queue.acknowledge(last)
    queue.acknowledge(slow)
    queue.acknowledge(last)
    assert queue.read(claimed(), 9).entries == [b"5"]


def test_what_follows_a_batch_is_read_before_and_after_it_is_gone() -> None:
    push(b"1", b"2", b"3", b"4", b"5")
    first = queue.read(claimed(), 2)
    second = queue.read_after(first, 2)
    assert (second.entries, second.kept) == ([b"3", b"4"], 1)
    queue.acknowledge(first)
    assert queue.read_after(first, 2) == second
    assert queue.read_again(second) == second
    third = queue.read_after(second, 2)
    assert (third.entries, third.kept) == ([b"5"], 0)
    assert queue.read_again(first).entries == []
    queue.acknowledge(second)
    assert list(queue.read_again(third).numbered()) == list(third.numbered())


def test_a_batch_is_current_until_something_is_blanked() -> None:
    push(b"1", b"2")
    batch = queue.read(claimed(), 2)
    assert queue.is_current(batch)
    assert queue.blank(lambda entry: entry == b"2") == 1
    assert not queue.is_current(batch)
    again = queue.read_again(batch)
    assert again.entries == [b"1", queue.FORGOTTEN]
    assert queue.is_current(again)


def test_an_entry_keeps_its_id_and_equal_ones_have_different_ids() -> None:
    push(b"same", b"same", b"same")
    claim = claimed()
    whole = dict(queue.read(claim, 3).numbered())
    assert len(whole) == 3
    queue.acknowledge(queue.read(claim, 1))
    assert list(queue.read(claim, 3).numbered()) == list(whole.items())[1:]


def test_what_a_dead_processor_left_is_taken_over_when_its_lease_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push(b"1")
    monkeypatch.setattr(queue, "LEASE_S", -1.0)
    dead = claimed()
    push(b"2")
    monkeypatch.undo()
    assert claimed() == dead
    assert claimed() != dead
    assert queue.claim() is None


def test_reading_extends_the_lease(redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    push(b"1")
    monkeypatch.setattr(queue, "LEASE_S", -1.0)
    claim = claimed()
    monkeypatch.undo()
    queue.read(claim, 1)
    assert queue.claim() is None


def test_a_released_claim_is_taken_at_once() -> None:
    push(b"1")
    claim = claimed()
    queue.release(claim)
    assert claimed() == claim


def test_a_claim_that_was_done_is_not_registered_again(redis: Any) -> None:
    push(b"1")
    claim = claimed()
    batch = queue.read(claim, 1)
    queue.acknowledge(batch)
    queue.read(claim, 1)
    queue.release(claim)
    assert redis.keys(f"{queue.PENDING}*") == []


def test_a_claim_that_was_registered_and_never_made_does_no_harm(redis: Any) -> None:
    redis.zadd(queue.CLAIMS, {queue.new_id(): 0, queue.new_id(): 0})
    assert queue.claim() is None
    push(b"1")
    assert queue.read(claimed(), 1).entries == [b"1"]


def test_the_claim_is_found_though_the_answer_to_its_making_was_lost(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What redis-py does when the connection breaks after the command arrived: it sends it again.
    push(b"1")
    renamenx = redis.renamenx
    ids = iter(["claim", "claim"])
    monkeypatch.setattr(queue, "new_id", lambda: next(ids))
    assert renamenx(queue.PENDING, queue.Claim(id="claim").key)
    push(b"2")
    claim = claimed()
    assert queue.read(claim, 9).entries == [b"1"]
    assert redis.lrange(queue.PENDING, 0, -1) == [b"2"]


def test_depth_counts_what_is_claimed_too() -> None:
    assert queue.depth() == 0
    push(b"1", b"2")
    claimed()
    push(b"3")
    assert queue.depth() == 3


def test_blanking_reaches_what_is_pending_and_every_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "SCANNED_AT_A_TIME", 3)
    push(b"1", b"x", b"2", b"3", b"x", b"x", b"4", b"x")
    claim = claimed()
    queue.acknowledge(queue.read(claim, 1))
    push(b"x", b"5")
    assert queue.blank(lambda entry: entry == b"x") == 5
    mark = queue.FORGOTTEN
    assert queue.read(claim, 9).entries == [mark, b"2", b"3", mark, mark, b"4", mark]
    # What was pending is a claim that nobody has.
    assert queue.read(claimed(), 9).entries == [mark, b"5"]
    assert queue.blank(lambda entry: entry == b"x") == 0


def test_ids_grow_with_time() -> None:
    ids = [queue.new_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert [number[:14] for number in ids] == sorted(number[:14] for number in ids)
