"""Which package may import which: one way, never up, never sideways."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "charts": set(),
    "encryption": set(),
    "scheduling": {"encryption"},
    "sites": {"scheduling", "encryption"},
    "alerts": {"sites", "scheduling", "encryption"},
    "recommendations": {"scheduling", "encryption", "charts"},
    "soloboard": {"alerts", "sites", "recommendations", "scheduling", "encryption", "charts"},
    "qstash_server": set(),
}


def imported(package: str) -> Iterator[tuple[str, str]]:
    """Yield (file, imported top-level package) for every import of ours in a package."""
    for path in sorted((PROJECT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                if top in ALLOWED and top != package:
                    yield str(path.relative_to(PROJECT)), top


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package: str) -> None:
    # Django looks up the apps' URL modules and handlers by name; those are the only strings it follows.
    wrong = [(path, top) for path, top in imported(package) if top not in ALLOWED[package]]
    assert wrong == []


def test_platforms_and_outbound_know_no_models() -> None:
    for folder in ("sites/platforms", "sites/outbound"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            text = path.read_text()
            assert "django.db" not in text, path
            assert "sites.models" not in text, path


def test_one_machine_mode_starts_before_the_settings_are_read() -> None:
    for path in sorted((PROJECT / "soloboard" / "local").rglob("*.py")):
        assert "django.conf" not in path.read_text(), path


def test_learning_and_ranking_know_arrays_and_nothing_else() -> None:
    known = sys.stdlib_module_names | {"numpy", "recommendations"}
    for path in sorted((PROJECT / "recommendations" / "core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                assert name.partition(".")[0] in known, path
                inside = name.startswith("recommendations.core")
                assert inside or not name.startswith("recommendations"), path


def test_channels_know_no_models() -> None:
    for path in sorted((PROJECT / "alerts" / "channels").rglob("*.py")):
        text = path.read_text()
        assert "django.db" not in text, path
        assert "models" not in text, path
