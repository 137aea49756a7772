from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from alerts.firing import Policy, Step, Track, advance, step
from alerts.rules.base import Finding, Verdict

BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
POLICY = Policy(cooldown=timedelta(minutes=60), remind_every=timedelta(minutes=30))
SIGNS = {"F": Finding.FIRING, "c": Finding.CLEAR, "?": Finding.UNKNOWN}


def run(signs: str, policy: Policy = POLICY) -> str:
    """Judge every ten minutes; tell what follows: O opened, R reminded, C closed, . nothing."""
    track, told = Track(), ""
    for number, sign in enumerate(signs):
        now = BEGIN + number * timedelta(minutes=10)
        taken = step(track, Verdict(finding=SIGNS[sign], reason=""), now, policy)
        track = advance(track, taken, now)
        told += taken.name[0] if taken else "."
    return told


def test_it_opens_once_and_closes_once() -> None:
    assert run("cFFcc") == ".O.C."


def test_it_reminds_as_often_as_asked() -> None:
    assert run("FFFFFFFFc") == "O..R..R.C"
    never = Policy(cooldown=POLICY.cooldown, remind_every=None)
    assert run("FFFFFFFFc", never) == "O.......C"


def test_within_the_cooldown_since_it_opened_it_does_not_open_again() -> None:
    assert run("FcFcFFFF") == "OC....O."


def test_what_is_not_known_neither_opens_nor_reminds_nor_closes() -> None:
    assert run("??F????c") == "..O....C"


@given(signs=st.text("Fc?", max_size=60))
def test_openings_and_closings_take_turns_and_openings_keep_the_cooldown(signs: str) -> None:
    told = run(signs)
    turns = told.replace(".", "").replace("R", "")
    assert turns in ("OC" * 60)[: len(turns)]
    openings = [number for number, it in enumerate(told) if it == "O"]
    assert all(later - earlier >= 6 for earlier, later in pairwise(openings))
    for sign, it in zip(signs, told, strict=True):
        assert {"O": "F", "R": "F", "C": "c"}.get(it, sign) == sign


@given(signs=st.text("Fc?", max_size=60))
def test_dropping_what_is_not_known_after_an_opening_changes_no_closing(signs: str) -> None:
    no_wait = Policy(cooldown=timedelta(0), remind_every=None)
    known = signs.replace("?", "")
    assert run(signs, no_wait).replace(".", "") == run(known, no_wait).replace(".", "")


def test_steps_have_different_initials() -> None:
    assert len({it.name[0] for it in Step}) == len(Step)
