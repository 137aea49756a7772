from pathlib import Path

import numpy as np
import pytest

from recommendations.core.actions import Actions
from recommendations.core.rank import main
from tests.recommendations.core.logs import two_camps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_log(tmp_path / "train.tsv", two_camps())
    (tmp_path / "users.txt").write_text("u3\nu0\nstranger\nu3\n", encoding="utf-8")
    items = [
        f"i{item}\t{'even' if item % 2 == 0 else 'odd'} thing\tcamp {item % 2}"
        for item in range(44)
    ]
    (tmp_path / "items.tsv").write_text("\n".join(items), encoding="utf-8")
    return tmp_path


def write_log(path: Path, log: Actions) -> None:
    rows = zip(log.users, log.items, np.asarray(log.times_s).astype(int), strict=True)
    lines = [f"u{user}\ti{item}\t{time_s}\n" for user, item, time_s in rows]
    path.write_text("".join(lines), encoding="utf-8")


def run(folder: Path, *options: str) -> int:
    return main(
        [
            *("--train", str(folder / "train.tsv")),
            *("--users", str(folder / "users.txt")),
            *("--out", str(folder / "ranked.tsv")),
            *("--factors", "8"),
            *options,
        ]
    )


def ranked(folder: Path) -> list[tuple[str, list[str]]]:
    lines = (folder / "ranked.tsv").read_text(encoding="utf-8").splitlines()
    return [(line.split("\t")[0], line.split("\t")[1].split()) for line in lines]


@pytest.mark.parametrize("options", [[], ["--no-time"], ["--at", "40000"]])
def test_everybody_asked_for_has_a_list_of_unseen_items(folder: Path, options: list[str]) -> None:
    assert run(folder, "--topk", "7", *options) == 0
    found = ranked(folder)
    assert [user for user, _ in found] == ["u3", "u0", "stranger", "u3"]
    log = two_camps()
    for user, items in found:
        assert len(items) == len(set(items)) == 7
        if user != "stranger":
            own = log.items[log.users == int(user[1:])]
            if "--at" not in options:
                assert not {f"i{item}" for item in own} & set(items)
    assert found[0] == found[3]


def test_taste_decides_without_times(folder: Path) -> None:
    run(folder, "--no-time", "--topk", "5")
    for user, items in ranked(folder):
        if user != "stranger":
            assert {int(item[1:]) % 2 for item in items} == {int(user[1:]) % 2}


def test_no_time_takes_no_notice_of_times(folder: Path) -> None:
    run(folder, "--no-time")
    before = ranked(folder)
    log = two_camps()
    shifted = np.random.default_rng(3).permutation(np.asarray(log.times_s))
    write_log(
        folder / "train.tsv",
        Actions(
            users=log.users,
            items=log.items,
            strengths=log.strengths,
            times_s=shifted,
            n_users=log.n_users,
            n_items=log.n_items,
        ),
    )
    run(folder, "--no-time")
    assert ranked(folder) == before


def test_items_without_actions_may_be_described(folder: Path) -> None:
    assert run(folder, "--items", str(folder / "items.tsv")) == 0
    assert len(ranked(folder)[0][1]) == 28


def test_a_malformed_file_ends_with_one_line_that_says_where(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train.tsv").write_text("u1\ti1\tlater\n", encoding="utf-8")
    assert run(folder) == 2
    assert "train.tsv, line 1" in capsys.readouterr().err


def test_a_missing_file_ends_with_its_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "users.txt").unlink()
    assert run(folder) == 2
    assert "users.txt" in capsys.readouterr().err


@pytest.mark.parametrize("lines", ["u1\ti1\t5\n", "u1\ti1\t5\nu2\ti1\t9\nu2\ti2\t9\n"])
def test_a_handful_of_actions_is_enough(folder: Path, lines: str) -> None:
    (folder / "train.tsv").write_text(lines, encoding="utf-8")
    (folder / "users.txt").write_text("u1\nu9\n", encoding="utf-8")
    assert run(folder) == 0
    assert [user for user, _ in ranked(folder)] == ["u1", "u9"]


@pytest.mark.parametrize("option", ["--factors", "--topk"])
def test_a_count_of_nothing_is_refused(folder: Path, option: str) -> None:
    with pytest.raises(SystemExit):
        run(folder, option, "0")
