import re
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from recommendations.management.commands import import_content as command
from recommendations.models import ContentItem

pytestmark = pytest.mark.django_db

Import = Callable[..., str]


@pytest.fixture
def import_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Import a text as a file. What a failing command printed is in the exception's notes."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(text: str | bytes, name: str = "content.jsonl") -> str:
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        out = StringIO()
        try:
            call_command("import_content", str(file), stdout=out)
        except CommandError as error:
            error.add_note(out.getvalue())
            raise
        return out.getvalue()

    return run


def refused(run: Import, text: str | bytes, name: str = "content.jsonl") -> tuple[str, list[str]]:
    """What the command ended with, and the lines that it printed."""
    with pytest.raises(CommandError) as caught:
        run(text, name)
    return str(caught.value), caught.value.__notes__[0].splitlines()


def test_json_lines_are_imported(import_content: Import) -> None:
    text = '{"external_id": "i1", "title": "First", "topics": ["a", "b"]}\n\n'
    assert "2 items imported" in import_content(
        text + '{"external_id": "i2", "title": "ж", "published_at": "2026-01-01T00:00:00Z"}'
    )
    first, second = ContentItem.objects.order_by("external_id")
    assert first.topics == ["a", "b"]
    assert (second.title, second.published_at) == ("ж", datetime(2026, 1, 1, tzinfo=UTC))


def test_csv_is_imported(import_content: Import) -> None:
    text = (
        "\ufeffexternal_id,title,topics,hidden,text,expires_at\r\n"
        'i1,"A ""good"" one",a; b ;,true,"two\nlines",\r\n'
        "i2,Second,,,,2030-01-01T00:00:00Z\r\n"
    )
    assert "2 items imported" in import_content(text, "content.CSV")
    first, second = ContentItem.objects.order_by("external_id")
    assert (first.title, first.topics, first.hidden) == ('A "good" one', ["a", "b"], True)
    assert first.text == "two\nlines"
    assert second.expires_at == datetime(2030, 1, 1, tzinfo=UTC)


def test_importing_again_updates(import_content: Import) -> None:
    import_content("external_id,title,text\ni1,Old,kept", "a.csv")
    import_content("external_id,title\ni1,New", "b.csv")
    item = ContentItem.objects.get()
    assert (item.title, item.text) == ("New", "kept")


def test_bad_lines_are_reported_and_the_rest_imported(import_content: Import) -> None:
    good = b'{"external_id": "i%d", "title": "T"}\n'
    message, lines = refused(
        import_content,
        good % 1 + b"{not json\n" + b'{"external_id": "i3"}\n' + good % 4
        + b'{"external_id": "i5", "title": "\xff"}\n' + b"[" * 100_000 + b"\n" + good % 7,
    )  # fmt: skip
    assert message == "3 items imported; 4 lines were not."
    assert [line.partition(":")[0] for line in lines if line.startswith("line")] == [
        "line 2", "line 3", "line 5", "line 6",
    ]  # fmt: skip
    assert "line 3: title: This field is required." in lines
    assert ContentItem.objects.count() == 3


def test_bad_rows_of_csv_are_named_by_the_line_they_begin_on(import_content: Import) -> None:
    message, lines = refused(
        import_content,
        'external_id,title,hidden\ni1,"two\nlines",\ni2,T,maybe\n\ni3,T,,,\n[b]/x,T\ni4,T',
        "content.csv",
    )
    assert message == "2 items imported; 3 lines were not."
    assert [line.partition(":")[0] for line in lines if line.startswith("line")] == [
        "line 4", "line 6", "line 7",
    ]  # fmt: skip
    assert "line 6: It has 5 cells for 3 columns." in lines


def test_many_lines_are_imported_in_chunks(
    import_content: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "CHUNK_SIZE", 3)
    rows = "".join(f"i{number},T\n" for number in range(10))
    message, lines = refused(import_content, f"external_id,title\n{rows}i,\n", "a.csv")
    assert message == "10 items imported; 1 lines were not."
    assert any(re.match(r"line 12: title", line) for line in lines)


@pytest.mark.parametrize(
    ("text", "name", "complaint"),
    [
        ("x", "content.xml", "content.xml must end in one of: .csv, .jsonl, .ndjson."),
        ("", "a.csv", "The first line must name the columns; missing: external_id, title."),
        ("external_id\n", "a.csv", "The first line must name the columns; missing: title."),
        ("external_id,title,topic\n", "a.csv", "Unknown columns: topic. Known are external_id, "),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_sentence(
    import_content: Import, text: str, name: str, complaint: str
) -> None:
    assert refused(import_content, text, name)[0].startswith(complaint)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"gone.csv cannot be read: No such file"):
        call_command("import_content", str(tmp_path / "gone.csv"), stdout=StringIO())
