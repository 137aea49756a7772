import csv
import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from recommendations.content import CHUNK_SIZE, ContentItemSerializer, upsert

#: Between the topics in a cell of CSV.
TOPIC_SEPARATOR = ";"
#: Of a cell; as long as the text of an item may well be.
MAX_CELL = 10 * 1024 * 1024

#: The number of a line, and what stands there: an entry, or why it cannot be read.
Line = tuple[int, Any]


class Unreadable(Exception):
    """A line that is no entry, for the reason that its message tells."""


class Command(BaseCommand):
    help = "Imports content from a CSV (.csv) or JSON Lines (.jsonl) file; known items are updated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="a .csv with a header, or a .jsonl, in UTF-8")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        read = READERS.get(file.suffix.lower())
        if read is None:
            raise CommandError(f"{file.name} must end in one of: {', '.join(sorted(READERS))}.")
        # Rich writes to anything with write(), as Django's wrapper of stdout has.
        # What a line is called is text, whatever brackets and colons it has.
        console = Console(
            file=cast("IO[str]", self.stdout), highlight=False, markup=False, emoji=False
        )
        try:
            imported, failed = _import(file, read, console)
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        if failed:
            raise CommandError(f"{imported} items imported; {failed} lines were not.")
        console.print(f"{imported} items imported")


def _import(
    file: Path, read: Callable[[IO[str]], Iterator[Line]], console: Console
) -> tuple[int, int]:
    """Import what can be, and print a line for what cannot. Returns how many there were of each."""
    imported = failed = 0
    with (
        _progress(console) as progress,
        # A byte that is no UTF-8 becomes half of a surrogate pair, which spoils its own line alone.
        progress.open(
            file,
            "r",
            encoding="utf-8-sig",
            errors="surrogateescape",
            newline="",
            description="Importing",
        ) as text,
    ):
        lines = read(text)
        while chunk := list(islice(lines, CHUNK_SIZE)):
            problems = _import_chunk(chunk)
            for number, reason in problems:
                progress.console.print(f"line {number}: {reason}")
            failed += len(problems)
            imported += len(chunk) - len(problems)
    return imported, failed


def _import_chunk(chunk: Iterable[Line]) -> list[tuple[int, str]]:
    """Save the entries. Returns the lines that were not, with the reasons, in their order."""
    problems, entries, numbers = [], [], []
    for number, entry in chunk:
        if isinstance(entry, Unreadable):
            problems.append((number, str(entry)))
        else:
            entries.append(entry)
            numbers.append(number)
    problems += [(numbers[problem.index], problem.reason) for problem in upsert(entries)]
    return sorted(problems)


# --- Files ----------------------------------------------------------------------------------------


def _read_json_lines(text: IO[str]) -> Iterator[Line]:
    for number, line in enumerate(text, start=1):
        if line.strip():
            yield number, _parse(line)


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"It is not JSON: {error}.")


def _read_csv(text: IO[str]) -> Iterator[Line]:
    csv.field_size_limit(MAX_CELL)
    rows = csv.reader(text)
    header = [name.strip() for name in next(rows, [])]
    _check_header(header)
    while True:
        # A cell may go over several lines.
        number = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield number, Unreadable(f"It is not CSV: {error}.")
            continue
        if row is None:
            return
        if row:
            yield number, _entry_of(header, row)


def _check_header(header: list[str]) -> None:
    fields = ContentItemSerializer().fields.items()
    known = [name for name, field in fields if not field.read_only]
    if unknown := sorted(set(header) - set(known)):
        raise CommandError(f"Unknown columns: {', '.join(unknown)}. Known are {', '.join(known)}.")
    if missing := [name for name, field in fields if field.required and name not in header]:
        raise CommandError(f"The first line must name the columns; missing: {', '.join(missing)}.")


def _entry_of(header: list[str], row: list[str]) -> Any:
    if len(row) > len(header):
        return Unreadable(f"It has {len(row)} cells for {len(header)} columns.")
    # An empty cell says nothing, so that a file need not know everything.
    entry: dict[str, Any] = {name: cell for name, cell in zip(header, row, strict=False) if cell}
    if "topics" in entry:
        topics = map(str.strip, entry["topics"].split(TOPIC_SEPARATOR))
        entry["topics"] = [topic for topic in topics if topic]
    return entry


READERS = {".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(),
        console=console, transient=True,
    )  # fmt: skip
