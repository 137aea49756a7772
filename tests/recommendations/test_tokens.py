from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from recommendations import tokens
from recommendations.models import ApplicationToken

pytestmark = pytest.mark.django_db


def status(client: Client, path: str = "/api/items") -> int:
    return client.get(path).status_code


def bearer(secret: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {secret}"})


def test_a_token_is_stored_as_a_hash_alone() -> None:
    token, secret = tokens.issue("shop")
    assert secret.startswith("sb_")
    assert len(secret) == 46
    stored = ApplicationToken.objects.values().get()
    assert secret not in str(stored)
    assert tokens.find(secret) == token


@pytest.mark.parametrize("secret", ["", "sb_", "sb_wrong", "\udcff", "x" * 10_000])
def test_an_unknown_token_is_none(secret: str) -> None:
    tokens.issue("shop")
    assert tokens.find(secret) is None


def test_a_revoked_token_opens_nothing_from_the_next_call_on(
    application: Client, token: str
) -> None:
    assert status(application) == 200
    known = tokens.find(token)
    assert known is not None
    assert tokens.revoke([known.pk]) == 1
    assert tokens.revoke([known.pk]) == 0
    assert status(application) == 401


def test_its_use_is_noted_once_a_minute(application: Client) -> None:
    status(application)
    first = ApplicationToken.objects.get().last_used_at
    assert first is not None
    status(application)
    assert ApplicationToken.objects.get().last_used_at == first
    ApplicationToken.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    status(application)
    last = ApplicationToken.objects.get().last_used_at
    assert last is not None
    assert last > first


@pytest.mark.parametrize(
    "client",
    [Client(), bearer("sb_wrong"), bearer(""), Client(headers={"Authorization": "Basic x"})],
)
def test_without_a_good_token_the_answer_is_401_and_says_what_to_send(client: Client) -> None:
    answer = client.get("/api/items")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "Authorization: Bearer sb_" in answer.json()["error"]


def test_the_secret_of_the_webhooks_is_no_token(settings: Settings) -> None:
    assert status(bearer(settings.CRON_SECRET)) == 401


@pytest.mark.parametrize(
    "path", ["/api/sites", "/api/jobs", "/api/runs", "/api/sync-logs", "/api/init", "/api/schema"]
)
def test_an_application_never_gets_what_is_for_staff(application: Client, path: str) -> None:
    assert status(application, path) in (401, 403)


def test_an_application_may_not_call_a_webhook(application: Client) -> None:
    answer = application.post(
        "/api/actions/batch-process",
        {"action": "process_user_actions"},
        content_type="application/json",
    )
    assert answer.status_code == 401


def test_staff_may_browse_and_other_users_may_not() -> None:
    for is_staff, expected in ((True, 200), (False, 403)):
        client = Client()
        client.force_login(User.objects.create_user(f"u{is_staff}", is_staff=is_staff))
        assert status(client) == expected
