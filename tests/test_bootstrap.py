"""The environment is made with an interpreter that will do, once, or refused in a sentence."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bootstrap

THIS_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone whose requirements ask for nothing, so that nothing is downloaded."""
    for name in bootstrap.REQUIREMENTS:
        (tmp_path / name).write_text("# Nothing.\n")
    monkeypatch.setattr(bootstrap, "PROJECT", str(tmp_path))
    monkeypatch.setattr(bootstrap, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(bootstrap, "VENV_PYTHON", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.setattr(bootstrap, "STAMP", str(tmp_path / ".venv" / "stamp"))
    return tmp_path


@pytest.fixture
def ready_venv(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the tests as that of the clone, for requirements that cannot be met."""
    (clone / ".venv").mkdir()
    monkeypatch.setattr(bootstrap, "VENV_PYTHON", sys.executable)


def test_it_is_made_once_and_completed_when_the_requirements_change(
    clone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert bootstrap.main() == 0
    assert "Making .venv" in capfd.readouterr().out
    assert bootstrap.main() == 0
    assert capfd.readouterr().out == ""
    (clone / "requirements.txt").write_text("# Nothing more.\n")
    assert bootstrap.main() == 0
    said = capfd.readouterr().out
    assert "Installing" in said
    assert "Making" not in said


@pytest.mark.usefixtures("ready_venv")
def test_packages_that_cannot_be_had_are_one_sentence_and_tried_again(
    clone: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (clone / "requirements-dev.txt").write_text("./no-such-package\n")
    for _ in range(2):
        assert bootstrap.main() == 1
        said = capfd.readouterr().err
        assert "pip could not install the packages" in said
        assert "Traceback" not in said


@pytest.mark.usefixtures("ready_venv")
def test_nothing_is_ever_compiled(clone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = clone / "made-up-1.0.tar.gz"
    shutil.make_archive(str(source).removesuffix(".tar.gz"), "gztar", clone, "requirements.txt")
    requirement = f"--no-index\n--find-links {clone}\nmade-up\n"
    (clone / "requirements-dev.txt").write_text(requirement)
    assert bootstrap.main() == 1
    assert "No matching distribution found for made-up" in capfd.readouterr().err


def test_a_python_without_venv_is_one_sentence_and_leaves_nothing_half_made(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lame = clone / "python-without-venv"
    lame.write_text(f'#!/bin/sh\n[ "$2" = venv ] && mkdir .venv && exit 1\necho {THIS_VERSION}\n')
    lame.chmod(0o755)
    monkeypatch.chdir(clone)
    monkeypatch.setattr(sys, "executable", str(lame))
    assert bootstrap.main() == 1
    assert "apt install python3-venv" in capfd.readouterr().err
    assert not (clone / ".venv").exists()


def test_a_better_python_is_found_on_the_path(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(clone))
    (clone / "python3.12").write_text("#!/bin/sh\necho 3.12\n")
    (clone / "python3.12").chmod(0o755)
    # As the shim of a version manager does when it has no such version.
    (clone / "python3.13").write_text("#!/bin/sh\nexit 127\n")
    (clone / "python3.13").chmod(0o755)
    monkeypatch.setattr(sys, "executable", "/nowhere/python3.8")
    assert bootstrap.find_python() == "python3.12"


def test_without_any_python_that_will_do_a_sentence_says_which(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(clone))
    monkeypatch.setattr(sys, "executable", "/nowhere/python3.8")
    assert bootstrap.main() == 1
    assert "needs Python 3.11, 3.12 or 3.13" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("system", "machine", "has_glibc", "expected"),
    [
        ("Windows", "AMD64", False, "this is Windows on AMD64"),
        ("Linux", "riscv64", True, "this is Linux on riscv64"),
        ("Linux", "x86_64", False, "another C library"),
    ],
)
def test_a_system_without_the_wheels_is_refused(
    system: str, machine: str, has_glibc: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(bootstrap, "has_glibc", lambda: has_glibc)
    with pytest.raises(bootstrap.CannotInstallError, match=expected):
        bootstrap.check_system()


def test_it_keeps_to_what_old_pythons_understand() -> None:
    source = Path(bootstrap.__file__).read_text()
    compile_for_old = "import ast, sys; ast.parse(sys.stdin.read(), feature_version=(3, 6))"
    subprocess.run([sys.executable, "-c", compile_for_old], input=source, text=True, check=True)
