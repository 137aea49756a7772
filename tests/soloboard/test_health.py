import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import OperationalError
from django.test import Client
from pytest_django import Settings

STRANGE_HOST = {"host": "10.0.0.7:8000"}


def test_liveness_touches_no_service_and_takes_any_host() -> None:
    # Without the django_db mark a query would fail.
    answer = Client().get("/healthz", headers=STRANGE_HOST)
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.django_db
def test_probes_are_not_redirected_to_https(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert Client().get("/healthz", headers=STRANGE_HOST).status_code == 200
    assert Client().get("/readyz", headers=STRANGE_HOST).status_code == 200


@pytest.mark.django_db
def test_ready_when_database_cache_and_migrations_are_in_order() -> None:
    answer = Client().get("/readyz")
    assert answer.json() == {"status": "ready", "checks": {"database": "ok", "cache": "ok"}}


@pytest.mark.django_db
def test_a_pending_migration_is_counted_and_its_mend_named() -> None:
    newest = MigrationLoader(connection).graph.leaf_nodes("sites")[0]
    MigrationRecorder(connection).record_unapplied(*newest)
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert "1 migrations pending; run manage.py migrate" in answer.json()["checks"]["database"]


@pytest.mark.django_db
def test_a_cache_that_is_away_is_named_and_nothing_else_is_told(settings: Settings) -> None:
    # Port 1 is closed.
    settings.CACHES = {
        "default": {**settings.CACHES["default"], "LOCATION": "redis://:made-up-word@127.0.0.1:1/0"}
    }
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "ok", "cache": "away"}
    assert "made-up" not in answer.content.decode()


@pytest.mark.django_db
def test_a_database_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("could not connect")

    monkeypatch.setattr("soloboard.health.MigrationExecutor", fail)
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "away")
