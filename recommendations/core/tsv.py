"""The files of the rank command: actions, users, items and lists, separated by tabs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recommendations.core.actions import Actions
from recommendations.core.arrays import IntArray
from recommendations.core.text import ItemText


class MalformedFile(Exception):
    """A file is not what the command reads: the message names file, line and what is expected."""


@dataclass(kw_only=True, eq=False)
class Numbering:
    """Row numbers of ids, in the order in which they first appear."""

    rows: dict[str, int] = field(default_factory=dict)

    def row(self, name: str) -> int:
        return self.rows.setdefault(name, len(self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: str) -> bool:
        return name in self.rows

    def names(self) -> list[str]:
        return list(self.rows)


def read_actions(path: Path, users: Numbering, items: Numbering) -> Actions:
    """Read `user<TAB>item<TAB>unix_seconds[<TAB>weight]`, numbering users and items.

    A weight below 0 is a dismissal; weights count in units of their mean size.
    Raises MalformedFile, and OSError for a file that cannot be opened.
    """
    rows: list[int] = []
    columns: list[int] = []
    times_s: list[float] = []
    weights: list[float] = []
    for number, fields in _lines(path):
        if len(fields) not in (3, 4) or not fields[0] or not fields[1]:
            raise MalformedFile(
                f"{path}, line {number}: expected user, item, unix seconds and perhaps a weight, "
                f"separated by tabs, but found {len(fields)} fields."
            )
        rows.append(users.row(fields[0]))
        columns.append(items.row(fields[1]))
        times_s.append(_number(path, number, "unix seconds", fields[2]))
        weights.append(_number(path, number, "a weight", fields[3]) if len(fields) == 4 else 1.0)
    if not rows:
        raise MalformedFile(f"{path} holds no action.")
    strengths = np.array(weights)
    return Actions(
        users=np.array(rows, dtype=np.int64),
        items=np.array(columns, dtype=np.int64),
        strengths=strengths / max(float(np.abs(strengths).mean()), 1e-12),
        times_s=np.array(times_s),
        n_users=len(users),
        n_items=len(items),
    )


def read_users(path: Path) -> list[str]:
    """Read one user a line; empty lines are left out."""
    return [fields[0] for _, fields in _lines(path)]


def read_items(path: Path) -> dict[str, ItemText]:
    """Read `item<TAB>text<TAB>topics separated by |`; text and topics may be missing.

    Raises MalformedFile, and OSError for a file that cannot be opened.
    """
    found = {}
    for number, fields in _lines(path):
        if len(fields) > 3 or not fields[0]:
            raise MalformedFile(
                f"{path}, line {number}: expected item, text and topics separated by |, "
                f"but found {len(fields)} fields."
            )
        text, topics = (*fields[1:], "", "")[:2]
        names = tuple(name.strip() for name in topics.split("|") if name.strip())
        found[fields[0]] = ItemText(text=text, topics=names)
    return found


def write_lists(
    path: Path,
    users: Sequence[str],
    lists: Mapping[str, IntArray],
    other: IntArray,
    items: Numbering,
) -> None:
    """Write `user<TAB>item item item …`, best first; who has no list gets the other one."""
    names = items.names()
    with path.open("w", encoding="utf-8") as out:
        for user in users:
            listed = lists.get(user, other)
            out.write(f"{user}\t{' '.join(names[item] for item in listed if item >= 0)}\n")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of the lines that are not empty."""
    with path.open(encoding="utf-8-sig") as opened:
        try:
            for number, line in enumerate(opened, start=1):
                content = line.rstrip("\r\n")
                if content.strip():
                    yield number, content.split("\t")
        except UnicodeDecodeError as error:
            raise MalformedFile(f"{path} is not text in UTF-8: {error}.") from error


def _number(path: Path, line: int, what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MalformedFile(f"{path}, line {line}: expected {what}, but found {text[:40]!r}.")
    return value
