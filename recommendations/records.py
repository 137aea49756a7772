"""Rows in PostgreSQL's binary COPY, to and from arrays: a million rows in seconds.

Source: PostgreSQL's manual, COPY, "Binary Format". A row is the number of its fields, and before each
field stands its length in bytes. Fields of fixed length make rows that NumPy reads and writes whole.
"""

import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import connection

_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
# About 2 MB of rows are turned into one array.
_CHUNK_ROWS = 40_000

Records = npt.NDArray[np.void]
Fields = dict[str, Any]


def vector_field(dimensions: int) -> np.dtype[np.void]:
    """How pgvector sends a vector: its dimensions, two spare bytes, and the numbers."""
    return np.dtype([("size", ">i2"), ("spare", ">i2"), ("values", ">f4", (dimensions,))])


def read(query: str, parameters: Mapping[str, Any], fields: Fields) -> Iterator[Records]:
    """Yield the rows of a query as arrays of these fields, bit by bit.

    fields: each column's type, of fixed length and never null, for instance {"user": ">i4"}.
    """
    row = np.dtype([("count", ">i2"), *_with_lengths(fields)])
    # COPY is psycopg's own, so Django would not turn its errors into those of django.db.
    statement = f"COPY ({query}) TO STDOUT (FORMAT binary)"
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        # Django's cursor for DEBUG takes no parameters here.
        cursor.copy(cursor.mogrify(statement, parameters)) as copy,
    ):
        kept = b""
        while parts := list(itertools.islice(copy, _CHUNK_ROWS)):
            kept, rows = _cut(kept + b"".join(parts), row)
            yield rows


def _cut(data: bytes, row: np.dtype[np.void]) -> tuple[bytes, Records]:
    """The whole rows at the beginning of the data, and what is left behind them."""
    first = len(_HEADER) if data.startswith(_HEADER) else 0
    count = (len(data) - first) // row.itemsize
    rows = np.frombuffer(data, dtype=row, count=count, offset=first)
    return data[first + count * row.itemsize :], rows


def blank(fields: Fields, count: int) -> Records:
    """Rows to be filled in and given to write()."""
    rows = np.zeros(count, dtype=_with_lengths(fields))
    for name in fields:
        rows[f"{name} length"] = rows.dtype[name].itemsize
    return rows


def write(table: str, name_column: str, names: Sequence[str], rows: Records) -> None:
    """Insert rows, each with a text of its own in name_column before what blank() made."""
    columns = [column for column in rows.dtype.names or () if not column.endswith(" length")]
    listed = ", ".join([name_column, *columns])
    statement = f"COPY {table} ({listed}) FROM STDIN (FORMAT binary)"
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        copy.write(_HEADER + _encode(names, rows, len(columns) + 1) + _TRAILER)


def _encode(names: Sequence[str], rows: Records, count: int) -> bytes:
    data, size = rows.tobytes(), rows.dtype.itemsize
    parts = []
    for number, name in enumerate(names):
        text = name.encode()
        parts.append(struct.pack(">hi", count, len(text)))
        parts.append(text)
        parts.append(data[number * size : (number + 1) * size])
    return b"".join(parts)


def _with_lengths(fields: Fields) -> list[tuple[str, Any]]:
    return [
        entry
        for name, kind in fields.items()
        for entry in ((f"{name} length", ">i4"), (name, kind))
    ]
