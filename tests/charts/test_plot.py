import re
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charts.plot import HEIGHT, MARGIN, WIDTH, draw

START = datetime(2026, 1, 1, tzinfo=UTC)


def days(count: int) -> list[date]:
    return [START.date() + timedelta(days=number) for number in range(count)]


def test_a_plot_begins_at_zero_and_says_itself_in_words() -> None:
    times = [START, START + timedelta(days=2)]
    plot = draw("NDCG@10", times, {"personal": [0.1, 0.2], "trending": [0.0, 0.05]})
    assert plot is not None
    assert [line.path for line in plot.lines] == ["M10 100L710 10", "M10 190L710 145"]
    assert [tick.text for tick in plot.ticks] == ["0.200", "0.150", "0.100", "0.050", "0.000"]
    assert (
        plot.words
        == "NDCG@10 from 01 Jan 2026 to 03 Jan 2026; last: personal 0.200, trending 0.050."
    )


def test_what_is_not_known_is_a_gap_and_not_a_zero() -> None:
    plot = draw("Visitors", days(6), {"visitors": [8, 8, None, 8, None, None]}, "{:.0f}".format)
    assert plot is not None
    assert plot.lines[0].path == "M10 10L150 10M430 10h2"
    assert plot.words.endswith("last: visitors 8; unknown 3 times of 6.")


@pytest.mark.parametrize("values", [{}, {"a": []}, {"a": [None, None]}])
def test_nothing_known_is_not_drawn(values: dict[str, list[float | None]]) -> None:
    assert draw("Nothing", days(2), values) is None


@pytest.mark.parametrize(
    ("numbers", "ticks"),
    [
        ([0, 3], ["3", "2", "1", "0"]),
        ([0, 0], ["1", "0"]),
        ([7, 480], ["600", "400", "200", "0"]),
        ([-30, 100], ["100", "50", "0", "-50"]),
    ],
)
def test_a_scale_of_whole_numbers_is_round(numbers: list[float], ticks: list[str]) -> None:
    plot = draw("Sales", days(2), {"sales": numbers}, "{:.0f}".format, least_step=1)
    assert plot is not None
    assert [tick.text for tick in plot.ticks] == ticks


def test_a_scale_may_hold_the_values_alone() -> None:
    plot = draw("Uptime", days(2), {"uptime": [98.96, 100]}, "{:g} %".format, from_zero=False)
    assert plot is not None
    assert [tick.text for tick in plot.ticks] == ["100 %", "99.5 %", "99 %", "98.5 %"]


@given(st.lists(st.none() | st.floats(-1e15, 1e15), min_size=1, max_size=60), st.booleans())
def test_every_line_stays_inside_the_picture(values: list[float | None], from_zero: bool) -> None:
    plot = draw("Any", days(len(values)), {"any": values}, from_zero=from_zero)
    if plot is None:
        assert all(value is None for value in values)
        return
    corners = [(int(x), int(y)) for x, y in re.findall(r"[ML](\d+) (\d+)", plot.lines[0].path)]
    assert len(corners) == sum(value is not None for value in values)
    for x, y in corners:
        assert MARGIN <= x <= WIDTH - MARGIN
        assert MARGIN <= y <= HEIGHT - MARGIN
    assert 2 <= len(plot.ticks) <= 7
