"""The system checks of all apps: each setting has its own id, a mend, and says nothing when all is well."""

from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from pytest_django import Settings

from scheduling.checks import PUBLIC_SIGNING_KEYS


def found() -> dict[str, CheckMessage]:
    return {str(message.id): message for message in run_checks()}


@pytest.fixture(autouse=True)
def _production(settings: Settings) -> None:
    settings.APP_URL = "https://board.example.com"
    settings.QSTASH_URL = "https://qstash.upstash.io"


def test_good_settings_are_not_mentioned() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("REDIS_URL", "memcached://x", "soloboard.E001"),
        ("SECRET_KEY", "short", "soloboard.E002"),
        ("SOLOBOARD_SECRET_KEYS", [], "encryption.E001"),
        ("SOLOBOARD_SECRET_KEYS", ["short"], "encryption.E002"),
        ("APP_URL", "board.example.com", "scheduling.E001"),
        ("APP_URL", "https://board.example.com/?x=1", "scheduling.E002"),
        ("APP_URL", "http://127.0.0.1:8000", "scheduling.E003"),
        ("APP_URL", "http://board.example.com", "scheduling.W001"),
        ("QSTASH_URL", "https://qstash.upstash.io/v2/publish", "scheduling.E004"),
        ("QSTASH_TOKEN", "two words", "scheduling.E005"),
        ("QSTASH_TOKEN", "ünicode", "scheduling.E005"),
        ("QSTASH_CURRENT_SIGNING_KEY", "short", "scheduling.E006"),
        ("QSTASH_NEXT_SIGNING_KEY", PUBLIC_SIGNING_KEYS[1], "scheduling.E007"),
        ("CRON_SECRET", "short", "scheduling.E008"),
        ("QSTASH_SCHEDULE_PREFIX", "a/b", "scheduling.E009"),
    ],
)
def test_each_setting_has_a_check_with_a_mend(
    settings: Settings, name: str, value: Any, check: str
) -> None:
    setattr(settings, name, value)
    message = found()[check]
    assert message.hint
    assert name in message.msg or name in str(message.hint)


def test_the_known_keys_will_do_where_only_this_machine_reaches_the_app(settings: Settings) -> None:
    settings.APP_URL, settings.QSTASH_URL = "http://127.0.0.1:8000", "http://127.0.0.1:8080"
    settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY = PUBLIC_SIGNING_KEYS
    assert found() == {}


def test_no_message_shows_a_secret(settings: Settings) -> None:
    for name in ("CRON_SECRET", "QSTASH_TOKEN", "SECRET_KEY"):
        setattr(settings, name, "b a d")
    assert not [message for message in run_checks() if "b a d" in f"{message.msg} {message.hint}"]
