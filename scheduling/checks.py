"""System checks of the settings that QStash needs. `manage.py check_qstash` also connects."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning

from scheduling.cron import CronError
from scheduling.cron import parse as parse_cron
from scheduling.registry import registry

MIN_SECRET_LENGTH = 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: What Upstash's development server and ours use when nothing else is set: known to everybody.
PUBLIC_SIGNING_KEYS = ("sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs")


@register()
def check_app_url(**kwargs: Any) -> list[CheckMessage]:
    url = urlsplit(settings.APP_URL)
    if url.scheme not in ("http", "https") or not url.hostname:
        return [
            Error(
                f"APP_URL is {settings.APP_URL!r}, which is no address.",
                hint="Write the public address with its scheme, such as https://board.example.com.",
                id="scheduling.E001",
            )
        ]
    if url.query or url.fragment or url.username:
        return [
            Error(
                "APP_URL holds more than scheme, host, port and path.",
                hint="Leave out user names, '?' and '#'.",
                id="scheduling.E002",
            )
        ]
    return _check_reach(url.scheme, url.hostname)


def _check_reach(scheme: str, host: str) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    is_local_qstash = urlsplit(settings.QSTASH_URL).hostname in LOOPBACK
    if host in LOOPBACK and not is_local_qstash:
        messages.append(
            Error(
                f"QStash at {settings.QSTASH_URL} cannot reach {settings.APP_URL} on this machine.",
                hint="Set APP_URL to the https address of a tunnel or of your server.",
                id="scheduling.E003",
            )
        )
    if host not in LOOPBACK and scheme == "http":
        messages.append(
            CheckWarning(
                "APP_URL is not https: the Bearer secret and sessions travel in the clear.",
                hint="Put a proxy with a certificate in front and write https:// in APP_URL.",
                id="scheduling.W001",
            )
        )
    return messages


@register()
def check_qstash_url(**kwargs: Any) -> list[CheckMessage]:
    url = urlsplit(settings.QSTASH_URL)
    if url.scheme not in ("http", "https") or not url.hostname or url.path:
        return [
            Error(
                f"QSTASH_URL is {settings.QSTASH_URL!r}; it must be the server's address without a path.",
                hint="For Upstash it is https://qstash.upstash.io, without /v2/publish at the end.",
                id="scheduling.E004",
            )
        ]
    return []


@register()
def check_qstash_token(**kwargs: Any) -> list[CheckMessage]:
    token = settings.QSTASH_TOKEN
    if (
        not token.strip()
        or any(character.isspace() for character in token.strip())
        or not token.isascii()
    ):
        return [
            Error(
                "QSTASH_TOKEN is empty or holds blanks or letters beyond ASCII.",
                hint="Copy the token again from the QStash console.",
                id="scheduling.E005",
            )
        ]
    return []


@register()
def check_signing_keys(**kwargs: Any) -> list[CheckMessage]:
    keys = {
        "QSTASH_CURRENT_SIGNING_KEY": settings.QSTASH_CURRENT_SIGNING_KEY,
        "QSTASH_NEXT_SIGNING_KEY": settings.QSTASH_NEXT_SIGNING_KEY,
    }
    messages: list[CheckMessage] = [
        Error(
            f"{name} is {'empty' if not key else 'too short for a signing key'}.",
            hint="Copy both signing keys from the QStash console.",
            id="scheduling.E006",
        )
        for name, key in keys.items()
        if len(key) < MIN_SECRET_LENGTH
    ]
    reachable = urlsplit(settings.APP_URL).hostname not in LOOPBACK
    if reachable and set(keys.values()) & set(PUBLIC_SIGNING_KEYS):
        messages.append(
            Error(
                "The signing keys are those of a development server, which everybody knows, and APP_URL can be "
                "reached from elsewhere: anybody could sign calls.",
                hint="Set QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY to keys of your own.",
                id="scheduling.E007",
            )
        )
    return messages


@register()
def check_cron_secret(**kwargs: Any) -> list[CheckMessage]:
    secret = settings.CRON_SECRET
    if len(secret) < MIN_SECRET_LENGTH or not secret.isascii() or not secret.isprintable():
        return [
            Error(
                f"CRON_SECRET must be at least {MIN_SECRET_LENGTH} printable ASCII characters.",
                hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
                id="scheduling.E008",
            )
        ]
    return []


@register()
def check_schedule_prefix(**kwargs: Any) -> list[CheckMessage]:
    prefix = settings.QSTASH_SCHEDULE_PREFIX
    if (
        not prefix.isascii()
        or not prefix.replace("-", "").replace("_", "").replace(".", "").isalnum()
    ):
        return [
            Error(
                f"QSTASH_SCHEDULE_PREFIX is {prefix!r}.",
                hint="Use letters, digits, dots, dashes and underscores.",
                id="scheduling.E009",
            )
        ]
    return []


@register()
def check_proposed_cadences(**kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for job in registry.scheduled:
        try:
            parse_cron(job.cron)
        except CronError as error:
            messages.append(
                Error(
                    f"The job {job.key} proposes a cadence that is none. {error}",
                    hint="Mend cron= in its decorator.",
                    id="scheduling.E010",
                )
            )
    return messages
