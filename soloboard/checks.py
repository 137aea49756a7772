"""System checks of the settings that belong to no single app."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

MIN_SECRET_KEY_LENGTH = 50


@register()
def check_redis_url(**kwargs: Any) -> list[CheckMessage]:
    if settings.REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
        return []
    return [
        Error(
            "REDIS_URL does not start with redis://, rediss:// or unix://.",
            hint="Write it as redis://HOST:6379/0.",
            id="soloboard.E001",
        )
    ]


@register()
def check_secret_key(**kwargs: Any) -> list[CheckMessage]:
    if len(settings.SECRET_KEY) >= MIN_SECRET_KEY_LENGTH:
        return []
    return [
        Error(
            f"SECRET_KEY is shorter than {MIN_SECRET_KEY_LENGTH} characters.",
            hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(50))'",
            id="soloboard.E002",
        )
    ]
