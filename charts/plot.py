"""Lines over time with a scale. The numbers beside it are text of the page, so that they can be read
on a narrow screen too.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from charts.path import path, pieces

WIDTH = 720
HEIGHT = 200
#: So that no stroke is cut off. A number beside the picture is twice as high, and so stands by its
#: line of the grid.
MARGIN = 10
STEPS = 4
#: A lone value is drawn as a dash of this length.
DASH = 2

#: One number for each time, None where it is not known.
Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Line:
    """number: from 1, also its CSS class. path: SVG path data. last: its last value, written."""

    number: int
    name: str
    path: str
    last: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A line of the grid. y: its place."""

    y: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Lines for a viewBox of WIDTH by HEIGHT, and the same in words.

    ticks: evenly spaced, the highest first.
    """

    title: str
    lines: Sequence[Line]
    ticks: Sequence[Tick]
    first: date
    last: date
    words: str
    width: int = WIDTH
    height: int = HEIGHT


def draw(
    title: str,
    times: Sequence[date],
    values: Mapping[str, Values],
    show: Callable[[float], str] = "{:.3f}".format,
    *,
    from_zero: bool = True,
    least_step: float = 0.0,
) -> Plot | None:
    """Draw one line a name; None when nothing is known at any time.

    times: ascending; days, or moments, which are days too.
    show: writes a value with its unit.
    from_zero: whether the scale goes from zero, and lower where a value is lower; otherwise it holds
        the values alone.
    least_step: of the scale; 1 for what comes in whole numbers.
    """
    known = [value for numbers in values.values() for value in numbers if value is not None]
    if not known:
        return None
    scale = _scale(known, from_zero=from_zero, least_step=least_step)
    xs = _xs(times)
    lines = [
        Line(
            number=number,
            name=name,
            path=path(pieces(xs, _ys(numbers, scale)), dash=DASH),
            last=_last(numbers, show),
        )
        for number, (name, numbers) in enumerate(values.items(), start=1)
    ]
    ticks = [Tick(y=_y(value, scale), text=show(value)) for value in reversed(scale)]
    return Plot(
        title=title, lines=lines, ticks=ticks, first=times[0], last=times[-1],
        words=_in_words(title, times, values, lines),
    )  # fmt: skip


def _scale(known: Sequence[float], *, from_zero: bool, least_step: float) -> list[float]:
    """Round numbers, evenly spaced, from the lowest to the highest that is needed."""
    low, high = min(known), max(known)
    if from_zero:
        low, high = min(low, 0), max(high, 0)
    step = max(_round_up((high - low) / STEPS), least_step) or 1.0
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        first, last = (first, last + 1) if from_zero else (first - 1, last)
    return [number * step for number in range(first, last + 1)]


def _round_up(step: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, …, also below 1."""
    if step <= 0:
        return 0.0
    power: float = 10.0 ** math.floor(math.log10(step))
    return next((n * power for n in (1, 2, 5) if n * power >= step * (1 - 1e-9)), 10 * power)


def _xs(times: Sequence[date]) -> list[int]:
    total_s = (times[-1] - times[0]).total_seconds() or 1.0
    room = WIDTH - 2 * MARGIN
    return [round(MARGIN + room * (time - times[0]).total_seconds() / total_s) for time in times]


def _ys(numbers: Values, scale: Sequence[float]) -> list[int | None]:
    return [None if value is None else _y(value, scale) for value in numbers]


def _y(value: float, scale: Sequence[float]) -> int:
    share = (value - scale[0]) / (scale[-1] - scale[0])
    return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share)


def _last(numbers: Values, show: Callable[[float], str]) -> str:
    known = [value for value in numbers if value is not None]
    return show(known[-1]) if known else "unknown"


def _in_words(
    title: str, times: Sequence[date], values: Mapping[str, Values], lines: Sequence[Line]
) -> str:
    gaps = sum(
        all(value is None for value in found) for found in zip(*values.values(), strict=True)
    )
    last = ", ".join(f"{line.name} {line.last}" for line in lines)
    told = f"{title} from {times[0]:%d %b %Y} to {times[-1]:%d %b %Y}; last: {last}"
    return f"{told}; unknown {gaps} times of {len(times)}." if gaps else f"{told}."
