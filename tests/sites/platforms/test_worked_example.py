"""The platform in docs/platforms.md is real: its text is run here and held to every case."""

import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from sites import platforms
from sites.platforms import mapping
from sites.platforms.base import Figures
from tests.sites.loopback import Request, http
from tests.sites.platforms.cases import SECRET, JsonApiCases

DOCUMENT = Path(__file__).parents[3] / "docs" / "platforms.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


def example() -> ModuleType:
    """Return the worked example as the module it would be."""
    (source,) = [text for language, text in BLOCKS if language == "python"]
    module = ModuleType("sites.platforms.tally")
    exec(compile(source, str(DOCUMENT), "exec"), module.__dict__)  # noqa: S102 - our own text.
    return module


class TestTally(JsonApiCases):
    platform = example().Tally()
    credentials: ClassVar[Mapping[str, str]] = {"api_key": SECRET}
    good = http(
        json.dumps(
            {
                "days": {
                    "2026-02-05": {"visitors": 30, "orders": 0, "totals": {}},
                    "2026-02-07": {
                        "visitors": 42,
                        "orders": 2,
                        "totals": {"EUR": "20.00", "JPY": "1500"},
                    },
                }
            }
        )
    )

    @pytest.fixture(autouse=True)
    def registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Add the one line."""
        monkeypatch.setitem(platforms.PLATFORMS, self.platform.key, self.platform)

    def typed(self, url: str) -> dict[str, Any]:
        return {"url": url.rstrip("/"), "counter": "shop"}

    def test_figures_are_read(self) -> None:
        received: list[Request] = []

        def answers(request: Request) -> bytes:
            received.append(request)
            return self.good

        snapshot = self.fetch(answers)
        assert snapshot.figures == Figures(
            visitors=42, sales=2, revenue_minor={"EUR": 2000, "JPY": 1500}
        )
        assert snapshot.days == {
            date(2026, 2, 4): Figures(visitors=0, sales=0),
            date(2026, 2, 5): Figures(visitors=30, sales=0),
            date(2026, 2, 6): Figures(visitors=0, sales=0),
        }
        (request,) = received
        assert request.target == "/counters/shop?from=2026-02-04&to=2026-02-07"
        assert request.headers["authorization"] == f"Bearer {SECRET}"

    def test_limits_are_those_of_its_key(self) -> None:
        assert self.platform.limits.per_minute == 120
        assert self.platform.account({}, self.credentials) == SECRET


def test_lines_shown_in_the_document_are_read() -> None:
    (text,) = [text for language, text in BLOCKS if not language]
    document = {
        "stats": {"today": {"visitors": 42}},
        "orders": [{"status": "paid", "total": "20.00"}, {"status": "open", "total": "5.00"}],
        "totals": {"jpy": 1500},
        "errors": {"share": 0.5},
        "queue": {},
    }
    figures = mapping.read(mapping.parse(text), document)
    assert (figures.visitors, figures.sales) == (42, 1)
    assert figures.revenue_minor == {"EUR": 2000, "JPY": 1500}
    assert {name: metric.value for name, metric in figures.metrics.items()} == {
        "error_rate": 50,
        "queue": 0,
    }


@pytest.mark.parametrize("key", platforms.PLATFORMS)
def test_every_platform_is_listed_in_the_document(key: str) -> None:
    assert f"| `{key}` | `{key}.py` |" in DOCUMENT.read_text()
