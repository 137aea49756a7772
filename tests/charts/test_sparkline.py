from hypothesis import given
from hypothesis import strategies as st

from charts.sparkline import HEIGHT, MARGIN, WIDTH, Point, draw

START_S = 1_767_225_600.0
STEP_S = 3600.0


def points(*values: int | None, failed: frozenset[int] = frozenset()) -> list[Point]:
    return [
        Point(at_s=START_S + STEP_S * number, value=value, failed=number in failed)
        for number, value in enumerate(values)
    ]


def test_line_goes_from_the_first_to_the_last_point() -> None:
    course = draw(points(0, 10), "Latency", each="hour")
    assert course is not None
    assert course.line == f"M{MARGIN} {HEIGHT - MARGIN}L{WIDTH - MARGIN} {MARGIN}"


def test_missing_value_is_a_gap_and_not_a_zero() -> None:
    course = draw(points(5, 5, None, 5, 5), "Latency", each="hour")
    assert course is not None
    assert course.line.count("M") == 2
    assert f" {HEIGHT - MARGIN}" not in course.line


def test_long_time_without_attempts_is_a_gap() -> None:
    before = points(5, 5, 5, 5)
    after = [Point(at_s=point.at_s + 5 * 3600, value=5) for point in before]
    course = draw([*before, *after], "Latency", each="hour")
    assert course is not None
    assert course.line.count("M") == 2


def test_points_that_are_closer_make_no_gap() -> None:
    by_hand = [Point(at_s=START_S - 5 * number, value=5) for number in (2, 1)]
    course = draw([*by_hand, *points(5, 5, 5, 5, 5)], "Latency", each="hour")
    assert course is not None
    assert course.line.count("M") == 1


def test_lone_value_between_gaps_is_a_dot() -> None:
    course = draw(points(5, None, 7, None, 5, 5), "Latency", each="hour")
    assert course is not None
    assert course.line.count("h1") == 2


def test_failed_attempts_are_marked() -> None:
    course = draw(points(5, None, 5, failed=frozenset({1})), "Latency", each="hour")
    assert course is not None
    assert course.failures == f"M{WIDTH // 2} {HEIGHT}v-6"


def test_course_is_told_in_words() -> None:
    course = draw(
        points(5, None, 1200, 7, failed=frozenset({1})), "Latency", "{:,} ms".format, each="hour"
    )
    assert course is not None
    assert course.words == (
        "Latency over 3 hours: lowest 5 ms, highest 1,200 ms, last 7 ms; failures in 1 of 4."
    )


def test_one_value_has_no_course() -> None:
    assert draw(points(None, 5, None), "Latency", each="hour") is None


def test_nothing_has_no_course() -> None:
    assert draw([], "Latency", each="hour") is None


@given(st.lists(st.none() | st.integers(-(10**18), 10**18), min_size=2, max_size=96))
def test_every_line_stays_inside_the_picture(values: list[int | None]) -> None:
    course = draw(points(*values), "Revenue", each="hour")
    if course is None:
        assert sum(value is not None for value in values) < 2
        return
    pairs = course.line.replace("h1", "").replace("M", " M").replace("L", " L").split(" M")
    corners = [
        corner for piece in pairs for corner in piece.replace(" L", "|").split("|") if corner
    ]
    assert len(corners) == sum(value is not None for value in values)
    for corner in corners:
        x, y = map(int, corner.split())
        assert MARGIN <= x <= WIDTH - MARGIN
        assert MARGIN <= y <= HEIGHT - MARGIN


def test_points_at_one_instant_can_be_drawn() -> None:
    course = draw(
        [Point(at_s=START_S, value=1), Point(at_s=START_S, value=2)], "Latency", each="hour"
    )
    assert course is not None
