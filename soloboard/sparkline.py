"""Small line charts as SVG paths, drawn on the server: no script, nothing to load, nothing inline."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

WIDTH = 240
HEIGHT = 36
#: Keeps the stroke inside the picture at the lowest and the highest value.
MARGIN = 3
TICK = 6
#: Two points further apart than this many usual distances are not joined: nobody looked between.
LARGEST_STEP = 3


@dataclass(frozen=True, kw_only=True)
class Point:
    """One attempt.

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

    line: the values, in pieces where there are gaps; a lone value is a piece of no length, which
        round line caps show as a dot.
    failures: a tick at the lower edge for each failed attempt.
    """

    line: str
    failures: str
    words: str


def draw(
    points: Sequence[Point], name: str, show: Callable[[int], str] = "{:,}".format
) -> Sparkline | None:
    """Draw points that are in the order of time; None when fewer than two have a value.

    The scale begins at zero, or at the lowest value where one is negative.
    show: writes a value with its unit.
    """
    values = [point.value for point in points if point.value is not None]
    if len(values) < 2:
        return None
    return Sparkline(
        line=_line(points, min(0, *values), max(0, *values)),
        failures="".join(
            f"M{x} {HEIGHT}v-{TICK}"
            for x, point in zip(_xs(points), points, strict=True)
            if point.failed
        ),
        words=_in_words(points, values, name, show),
    )


def _line(points: Sequence[Point], low: int, high: int) -> str:
    def y(value: int) -> int:
        share = (value - low) / (high - low) if high > low else 0.0
        return round(HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN))

    dots = list(zip(_xs(points), points, strict=True))
    path = []
    for piece in _pieces(dots, _longest_step_s(points)):
        (first_x, first), *rest = piece
        path.append(f"M{first_x} {y(first.value or 0)}")
        path.append("".join(f"L{x} {y(point.value or 0)}" for x, point in rest) or "h0")
    return "".join(path)


def _pieces(
    dots: Sequence[tuple[int, Point]], longest_step_s: float
) -> Iterator[list[tuple[int, Point]]]:
    """Cut where a value is missing, and where the time between two points is unusually long."""
    piece: list[tuple[int, Point]] = []
    for x, point in dots:
        is_far = piece and point.at_s - piece[-1][1].at_s > longest_step_s
        if piece and (point.value is None or is_far):
            yield piece
            piece = []
        if point.value is not None:
            piece.append((x, point))
    if piece:
        yield piece


def _longest_step_s(points: Sequence[Point]) -> float:
    return LARGEST_STEP * median(b.at_s - a.at_s for a, b in pairwise(points))


def _xs(points: Sequence[Point]) -> list[int]:
    start_s, end_s = points[0].at_s, points[-1].at_s
    scale = (WIDTH - 2 * MARGIN) / ((end_s - start_s) or 1.0)
    return [round(MARGIN + (point.at_s - start_s) * scale) for point in points]


def _in_words(
    points: Sequence[Point], values: Sequence[int], name: str, show: Callable[[int], str]
) -> str:
    hours = (points[-1].at_s - points[0].at_s) / 3600
    time = f"{hours:.0f} hours" if hours >= 2 else f"{hours * 60:.0f} minutes"
    failed = sum(point.failed for point in points)
    return (
        f"{name} over {time}: lowest {show(min(values))}, highest {show(max(values))}, "
        f"last {show(values[-1])}; {failed} of {len(points)} attempts failed."
    )
