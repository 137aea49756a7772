"""Lines over time as SVG paths, drawn on the server: no script, nothing to load, nothing inline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH = 720
HEIGHT = 220
#: Room for the numbers at the left, and so that no stroke is cut off.
LEFT = 56
MARGIN = 12
GRID_LINES = 4
#: A lone value is drawn as a dash of this length.
DASH = 2


@dataclass(frozen=True, kw_only=True)
class Line:
    """name: of what it shows, also its CSS class. path: SVG path data. last: its last value."""

    name: str
    path: str
    last: float


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A line of the grid. y: its place. text_y: where its number stands."""

    y: int
    text_y: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Lines for a viewBox of WIDTH by HEIGHT, and the same in words."""

    lines: Sequence[Line]
    ticks: Sequence[Tick]
    words: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - MARGIN


def draw(
    title: str, times: Sequence[datetime], values: Mapping[str, Sequence[float]]
) -> Plot | None:
    """Draw one line a name; None without any time.

    times: ascending. values: for each name one number a time, >= 0; the scale begins at 0.
    """
    if not times:
        return None
    highest = max(max(numbers) for numbers in values.values()) or 1.0
    xs = _xs(times)
    lines = [
        Line(name=name, path=_path(xs, numbers, highest), last=numbers[-1])
        for name, numbers in values.items()
    ]
    return Plot(lines=lines, ticks=_ticks(highest), words=_in_words(title, times, values))


def _xs(times: Sequence[datetime]) -> list[int]:
    total_s = (times[-1] - times[0]).total_seconds() or 1.0
    room = WIDTH - LEFT - MARGIN
    return [round(LEFT + room * (time - times[0]).total_seconds() / total_s) for time in times]


def _y(value: float, highest: float) -> int:
    return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value / highest)


def _path(xs: Sequence[int], numbers: Sequence[float], highest: float) -> str:
    points = [f"{x} {_y(number, highest)}" for x, number in zip(xs, numbers, strict=True)]
    rest = "".join(f"L{point}" for point in points[1:]) or f"h{DASH}"
    return f"M{points[0]}{rest}"


def _ticks(highest: float) -> list[Tick]:
    values = [highest * step / GRID_LINES for step in range(GRID_LINES + 1)]
    places = [_y(value, highest) for value in values]
    return [
        Tick(y=y, text_y=y + 4, text=f"{value:.3f}")
        for y, value in zip(places, values, strict=True)
    ]


def _in_words(title: str, times: Sequence[datetime], values: Mapping[str, Sequence[float]]) -> str:
    last = ", ".join(f"{name} {numbers[-1]:.3f}" for name, numbers in values.items())
    return f"{title} from {times[0]:%d %b %Y} to {times[-1]:%d %b %Y}; last: {last}."
