from pathlib import Path

import numpy as np
import pytest

from recommendations.core.tsv import (
    MalformedFile,
    Numbering,
    read_actions,
    read_items,
    read_users,
    write_lists,
)


def written(folder: Path, text: str) -> Path:
    path = folder / "file.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_users_and_items_are_numbered_as_they_appear(tmp_path: Path) -> None:
    users, items = Numbering(), Numbering()
    path = written(tmp_path, "ann\tpot\t10\nbob\tpan\t20.5\r\n\nann\tpan\t30\n")
    actions = read_actions(path, users, items)
    assert users.names() == ["ann", "bob"]
    assert actions.items.tolist() == [0, 1, 1]
    assert actions.times_s is not None
    assert actions.times_s.tolist() == [10, 20.5, 30]


def test_weights_count_in_units_of_their_mean_and_dismissals_stay_negative(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "a\tx\t1\t6\na\ty\t2\t-2\n")
    actions = read_actions(path, Numbering(), Numbering())
    assert actions.strengths.tolist() == [1.5, -0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tx\t1\na\tx\n", "line 2: expected user, item, unix seconds"),
        ("a\tx\t1\t1\t1\n", "found 5 fields"),
        ("\tx\t1\n", "line 1"),
        ("a\tx\tyesterday\n", "expected unix seconds, but found 'yesterday'"),
        ("a\tx\tnan\n", "expected unix seconds"),
        ("a\tx\t1\tmuch\n", "expected a weight, but found 'much'"),
        ("\n", "holds no action"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MalformedFile, match=message):
        read_actions(written(tmp_path, text), Numbering(), Numbering())


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.tsv"
    path.write_bytes(b"a\tx\t1\n\xff\xfe\n")
    with pytest.raises(MalformedFile, match="UTF-8"):
        read_actions(path, Numbering(), Numbering())


def test_items_may_lack_text_and_topics(tmp_path: Path) -> None:
    found = read_items(written(tmp_path, "x\tred pot\tkitchen | home|\ny\tpan\nz\n"))
    assert found["x"].topics == ("kitchen", "home")
    assert (found["y"].text, found["y"].topics) == ("pan", ())
    assert found["z"].text == ""


def test_an_items_file_with_too_many_fields_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedFile, match="line 1"):
        read_items(written(tmp_path, "x\ta\tb\tc\n"))


def test_users_are_read_one_a_line(tmp_path: Path) -> None:
    assert read_users(written(tmp_path, "ann\n\nbob\r\n")) == ["ann", "bob"]


def test_who_has_no_list_gets_the_other(tmp_path: Path) -> None:
    items = Numbering()
    for name in ("pot", "pan"):
        items.row(name)
    path = tmp_path / "out.tsv"
    write_lists(path, ["ann", "bob"], {"ann": np.array([1, -1])}, np.array([0, 1]), items)
    assert path.read_text(encoding="utf-8") == "ann\tpan\nbob\tpot pan\n"
