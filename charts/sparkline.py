"""Small lines without a scale, to be seen at a glance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from charts.path import Corner, path

WIDTH = 240
HEIGHT = 36
#: Keeps the stroke inside the picture at the lowest and the highest value.
MARGIN = 3
TICK = 6
#: Two points further apart than this many of what one stands for are not joined: nobody looked
#: between.
LONGEST_STEP = 1.9
#: A lone value is drawn as a dash of this length.
DASH = 1
LENGTH_S = {"hour": 3600, "day": 86_400}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One hour, day or attempt.

    at_s: POSIX time in seconds.
    value: what was measured, or None.
    failed: whether to mark it as such.
    """

    at_s: float
    value: int | None
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """Path data for a viewBox of WIDTH by HEIGHT, and the same in words.

    line: the values, in pieces where there are gaps; a lone value is a short dash.
    failures: a tick at the lower edge for each point that failed.
    """

    line: str
    failures: str
    words: str


def draw(
    points: Sequence[Point],
    name: str,
    show: Callable[[int], str] = "{:,}".format,
    *,
    each: Literal["hour", "day"],
) -> Sparkline | None:
    """Draw points that are in the order of time; None when fewer than two have a value.

    The scale begins at zero, or at the lowest value where one is negative.
    show: writes a value with its unit.
    each: what a point stands for.
    """
    values = [point.value for point in points if point.value is not None]
    if len(values) < 2:
        return None
    pieces = _pieces(points, min(0, *values), max(0, *values), LONGEST_STEP * LENGTH_S[each])
    return Sparkline(
        line=path(pieces, dash=DASH),
        failures="".join(
            f"M{x} {HEIGHT}v-{TICK}"
            for x, point in zip(_xs(points), points, strict=True)
            if point.failed
        ),
        words=_in_words(points, values, name, show, each),
    )


def _pieces(
    points: Sequence[Point], low: int, high: int, longest_step_s: float
) -> Iterator[list[Corner]]:
    """The line, cut where a value is missing and where nobody looked between."""

    def y(value: int) -> int:
        share = (value - low) / (high - low) if high > low else 0.0
        return round(HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN))

    piece: list[Corner] = []
    last_s = points[0].at_s
    for x, point in zip(_xs(points), points, strict=True):
        if piece and (point.value is None or point.at_s - last_s > longest_step_s):
            yield piece
            piece = []
        if point.value is not None:
            piece.append((x, y(point.value)))
            last_s = point.at_s
    if piece:
        yield piece


def _xs(points: Sequence[Point]) -> list[int]:
    start_s, end_s = points[0].at_s, points[-1].at_s
    scale = (WIDTH - 2 * MARGIN) / ((end_s - start_s) or 1.0)
    return [round(MARGIN + (point.at_s - start_s) * scale) for point in points]


def _in_words(
    points: Sequence[Point],
    values: Sequence[int],
    name: str,
    show: Callable[[int], str],
    each: str,
) -> str:
    length = round((points[-1].at_s - points[0].at_s) / LENGTH_S[each])
    failed = sum(point.failed for point in points)
    return (
        f"{name} over {length} {each}s: lowest {show(min(values))}, highest {show(max(values))}, "
        f"last {show(values[-1])}; failures in {failed} of {len(points)}."
    )
