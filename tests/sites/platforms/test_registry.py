import re
from pathlib import Path

import pytest

from sites import platforms
from sites.platforms import PLATFORMS, get_platform

SOURCES = Path(platforms.__file__).parent


def test_platforms_are_found_by_key() -> None:
    assert get_platform("uptime").name == "Uptime"
    assert get_platform("custom_json").name == "Custom JSON"


def test_unknown_key_names_those_there_are() -> None:
    with pytest.raises(KeyError, match="no platform 'ftp'; there are: uptime, custom_json"):
        get_platform("ftp")


@pytest.mark.parametrize("key", PLATFORMS)
def test_forms_explain_themselves(key: str) -> None:
    platform = get_platform(key)
    for form in (platform.Options, platform.Credentials):
        for name, field in form.base_fields.items():
            assert re.fullmatch(r"[a-z][a-z_]*", name)
            assert field.label != "", name


@pytest.mark.parametrize("key", PLATFORMS)
def test_options_not_mentioned_take_their_defaults_and_unknown_ones_are_left_out(key: str) -> None:
    platform = get_platform(key)
    known = set(platform.Options.base_fields)
    completed = platform.options({**dict.fromkeys(known, "stored"), "of_an_older_release": 1})
    assert completed == dict.fromkeys(known, "stored")
    defaults = {name: field.initial for name, field in platform.Options.base_fields.items()}
    assert platform.options({}) == defaults


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.py")), ids=lambda path: path.stem)
def test_platforms_know_neither_the_database_nor_the_settings(source: Path) -> None:
    text = source.read_text()
    assert not re.search(r"django\.(db|conf)|sites\.models", text)
