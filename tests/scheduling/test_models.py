from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection
from pytest_django import Settings

from scheduling.models import ScheduledJob
from scheduling.registry import registry
from scheduling.sync import default_row
from tests.scheduling.factories import scheduled_job

pytestmark = pytest.mark.django_db


def complaint(field: str, **fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        scheduled_job(**fields).full_clean()
    return " ".join(caught.value.message_dict[field])


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("cron", "*/5 * * *", "five fields"),
        ("cron", "0 25 * * *", "0 to 23"),
        ("timezone", "Mars/Olympus", "IANA name such as UTC"),
        ("retry_delay_ms", "soon", "Write milliseconds"),
        ("retries", 21, "20"),
        ("timeout_s", 0, "1"),
        ("timeout_s", 7201, "7200"),
        ("url", "ftp://example.com", "starts with https://"),
        ("url", "https://exa mple.com", "without spaces"),
        ("callback_url", "example.com", "starts with https://"),
        ("failure_callback_url", "https://", "starts with https://"),
        ("label", "two words", "letters, digits"),
        ("headers", {"Upstash-Retries": "1"}, "belongs to QStash"),
        ("headers", {"X-One": 1}, "must be a text"),
        ("headers", ["X-One"], "an object of names and values"),
        ("method", "BREW", "not a valid choice"),
    ],
)
def test_each_field_says_what_is_allowed(field: str, value: Any, says: str) -> None:
    assert says in complaint(field, **{field: value})


def test_a_job_is_scheduled_with_a_method_that_its_webhook_answers() -> None:
    wrong = complaint("method", job_key="sync-sites", method="PUT")
    assert wrong == "The job SoloBoard Data Sync is called with GET or POST."
    for method in ("GET", "POST"):
        scheduled_job(job_key="sync-sites", method=method).full_clean()


def test_host_names_without_a_dot_are_addresses() -> None:
    scheduled_job(url="http://nas:8080/hook").full_clean()


def test_a_schedule_calls_a_job_or_an_address_and_not_both() -> None:
    assert "one of the two" in complaint("__all__", url="")
    assert "one of the two" in complaint("__all__", url="https://example.com", job_key="sync-sites")


def test_the_database_refuses_neither_and_both() -> None:
    with pytest.raises(IntegrityError):
        ScheduledJob.objects.bulk_create([scheduled_job(url="")])


def test_a_job_that_is_not_registered_is_refused() -> None:
    assert "'gone'" in complaint("job_key", job_key="gone")


def test_an_own_webhook_is_chosen_as_a_job_not_as_an_address(settings: Settings) -> None:
    assert "choose the job" in complaint("url", url=f"{settings.APP_URL}/api/cron/sync-sites")


@pytest.mark.parametrize("body", ["{", "[1]", "text"])
def test_the_body_of_a_job_is_a_json_object(body: str) -> None:
    assert "JSON" in complaint("body", job_key="sync-sites", body=body)


def test_the_key_cannot_be_changed() -> None:
    job = scheduled_job()
    job.save()
    job.key = "other"
    with pytest.raises(ValidationError, match="cannot be changed"):
        job.full_clean()


def test_default_rows_of_all_scheduled_jobs_are_valid() -> None:
    for job in registry.scheduled:
        default_row(job).full_clean()


def test_secret_headers_are_encrypted_in_the_database() -> None:
    job = scheduled_job(secret_headers={"X-Key": "made-up-value"})
    job.save()
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret_headers FROM scheduled_jobs")
        (stored,) = cursor.fetchone()
    assert "made-up-value" not in stored
    assert "X-Key" not in stored
    assert ScheduledJob.objects.get().secret_headers == {"X-Key": "made-up-value"}


def test_calls_of_a_job_carry_the_bearer_secret_and_calls_of_an_address_do_not(
    settings: Settings,
) -> None:
    job = scheduled_job(job_key="sync-sites", headers={"authorization": "mine", "X-One": "1"})
    assert job.sent_headers() == {"Authorization": f"Bearer {settings.CRON_SECRET}", "X-One": "1"}
    assert scheduled_job(headers={"Authorization": "mine"}).sent_headers() == {
        "Authorization": "mine"
    }


def test_the_time_zone_travels_in_the_cron_text() -> None:
    assert (
        scheduled_job(timezone="Europe/Vienna").cron_with_zone
        == "CRON_TZ=Europe/Vienna 0 7 * * MON"
    )
    assert scheduled_job().cron_with_zone == "0 7 * * MON"


def test_a_disabled_schedule_has_no_next_fire_times() -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    assert scheduled_job(enabled=False).next_fire_times(2, now) == []
    assert scheduled_job(timezone="Europe/Vienna").next_fire_times(1, now) == [
        datetime(2026, 5, 4, 5, tzinfo=UTC)
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"cron": "0 8 * * MON"},
        {"timezone": "Europe/Vienna"},
        {"url": "https://example.com/other"},
        {"method": "GET"},
        {"headers": {"X-One": "1"}},
        {"secret_headers": {"X-Key": "made-up-value"}},
        {"body": "x"},
        {"retries": 1},
        {"retry_delay_ms": "1000"},
        {"timeout_s": 5},
        {"callback_url": "https://example.com/cb"},
        {"failure_callback_url": "https://example.com/cb"},
        {"label": "a"},
        {"enabled": False},
    ],
)
def test_whatever_qstash_should_know_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert scheduled_job(**change).fingerprint() != scheduled_job().fingerprint()


def test_what_qstash_need_not_know_leaves_the_fingerprint() -> None:
    described = scheduled_job(name="Another name", description="Words")
    assert described.fingerprint() == scheduled_job().fingerprint()


def test_a_changed_secret_or_address_of_the_app_makes_a_job_row_out_of_date(
    settings: Settings,
) -> None:
    job = scheduled_job(job_key="sync-sites")
    job.push_status, job.pushed_fingerprint = ScheduledJob.Push.PUSHED, job.fingerprint()
    assert job.is_pushed
    settings.CRON_SECRET = "another-made-up-secret"
    assert not job.is_pushed
