"""Rounds that are interleaved, because a shared machine is faster now and slower then, and tables."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

console = Console(highlight=False, width=110)

Measurement = Callable[[], float]


def interleaved(measurements: Mapping[str, Measurement], rounds: int) -> dict[str, list[float]]:
    """Make each measurement once a round, and say how far it is."""
    results: dict[str, list[float]] = {name: [] for name in measurements}
    for number in range(1, rounds + 1):
        for name, measure in measurements.items():
            results[name].append(measure())
            console.print(f"round {number} of {rounds}: {name}: {results[name][-1]:.2f}")
    return results


def spread(values: Sequence[float]) -> str:
    """The median with the lowest and the highest."""
    digits = 0 if min(values) >= 100 else 2
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for name in header:
        table.add_column(name, justify="left" if name == header[0] else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table)
