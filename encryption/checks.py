"""System checks of the encryption keys."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from encryption.keyring import MIN_KEY_LENGTH


@register()
def check_secret_keys(**kwargs: Any) -> list[CheckMessage]:
    keys = settings.SOLOBOARD_SECRET_KEYS
    if not keys:
        return [
            Error(
                "SOLOBOARD_SECRET_KEYS is empty.",
                hint="Set it to a long random key, or to several separated by commas, the newest first.",
                id="encryption.E001",
            )
        ]
    if any(len(key) < MIN_KEY_LENGTH for key in keys):
        return [
            Error(
                f"A key in SOLOBOARD_SECRET_KEYS is shorter than {MIN_KEY_LENGTH} characters.",
                hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
                id="encryption.E002",
            )
        ]
    return []
