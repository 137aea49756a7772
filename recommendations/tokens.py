"""Tokens of applications: made, found, revoked. Only a hash of a token is stored."""

import hashlib
import secrets
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from recommendations.models import ApplicationToken

#: Starts every token, so that people and scanners for secrets know one when they see it.
PREFIX = "sb_"
RANDOM_BYTES = 32
#: A busy application would otherwise write with each of its calls.
NOTED_EVERY = timedelta(minutes=1)


def new_secret() -> str:
    """Make a token."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest(secret: str) -> str:
    """The hash that is stored. A plain one, because a token of 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def issue(name: str) -> tuple[ApplicationToken, str]:
    """Make a token for an application. Returns it and, for the only time, its text."""
    secret = new_secret()
    return ApplicationToken.objects.create(name=name, digest=digest(secret)), secret


def find(secret: str) -> ApplicationToken | None:
    """The token with this text, unless it was revoked."""
    # Looked up by its hash: how long that takes tells nothing about any token.
    return ApplicationToken.objects.filter(digest=digest(secret), revoked_at=None).first()


def note_use(token: ApplicationToken) -> None:
    """Remember that a token was used; at most once a minute."""
    now = timezone.now()
    if token.last_used_at is not None and token.last_used_at > now - NOTED_EVERY:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - NOTED_EVERY)
    ApplicationToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)


def revoke(pks: list[int]) -> int:
    """Take tokens out of use, from the next call on. Returns how many were in use."""
    tokens = ApplicationToken.objects.filter(pk__in=pks, revoked_at=None)
    return tokens.update(revoked_at=timezone.now())
