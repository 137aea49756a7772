import numpy as np
import pytest
from django.db import DataError, connection

from recommendations import records

pytestmark = pytest.mark.django_db


def read(query: str, **parameters: object) -> list[tuple[int, float]]:
    chunks = records.read(query, parameters, {"number": ">i4", "half": ">f8"})
    return [(int(row["number"]), float(row["half"])) for chunk in chunks for row in chunk]


NUMBERS = "SELECT n::int4, n / 2.0::float8 FROM generate_series(1, %(last)s) AS n"


def test_rows_are_read_in_order() -> None:
    assert read(NUMBERS, last=3) == [(1, 0.5), (2, 1.0), (3, 1.5)]


def test_no_rows_are_read_as_none() -> None:
    assert read(NUMBERS, last=0) == []


def test_many_rows_are_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_CHUNK_ROWS", 7)
    assert read(NUMBERS, last=100) == [(n, n / 2) for n in range(1, 101)]


def test_errors_are_those_of_django() -> None:
    with pytest.raises(DataError, match="division by zero"):
        read("SELECT 1 / (n - n), 1.0::float8 FROM generate_series(1, %(last)s) AS n", last=1)


def test_what_is_written_is_what_postgresql_has() -> None:
    fields = {"number": ">i8", "spot": records.vector_field(3), "lit": "?"}
    rows = records.blank(fields, 2)
    rows["number"] = [5, -1]
    rows["spot"]["size"] = 3
    rows["spot"]["values"] = np.arange(6).reshape(2, 3)
    rows["lit"] = [True, False]
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE lamps (name text, number int8, spot vector(3), lit bool)")
        records.write("lamps", "name", ["é\t\\N", ""], rows)
        cursor.execute("SELECT name, number, spot::text, lit FROM lamps ORDER BY lit DESC")
        assert cursor.fetchall() == [("é\t\\N", 5, "[0,1,2]", True), ("", -1, "[3,4,5]", False)]
