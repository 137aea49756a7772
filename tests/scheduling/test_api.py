from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from qstash import QStash

from scheduling.models import JobRun, ScheduledJob
from scheduling.registry import registry
from tests.scheduling.factories import scheduled_job

pytestmark = pytest.mark.django_db(transaction=True)

JOB = {"key": "report", "name": "Report", "url": "https://example.com/r", "cron": "0 7 * * MON"}


@pytest.fixture
def staff(settings: Settings) -> Client:
    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client()
    client.force_login(User.objects.create_user("founder", is_staff=True))
    return client


def post(client: Client, path: str, body: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    return client.post(path, body or {}, content_type="application/json", **kwargs)


@pytest.mark.parametrize("path", ["/api/jobs", "/api/runs", "/api/schema", "/api/docs"])
def test_nobody_but_staff_gets_in(path: str, staff: Client) -> None:
    assert Client().get(path).status_code == 403
    visitor = Client()
    visitor.force_login(User.objects.create_user("visitor"))
    assert visitor.get(path).status_code == 403
    assert staff.get(path).status_code == 200


@pytest.mark.usefixtures("remote")
def test_a_schedule_is_made_changed_and_removed(staff: Client) -> None:
    made = post(staff, "/api/jobs", JOB)
    assert made.status_code == 201, made.content
    assert made.json()["is_pushed"] is True
    assert made.json()["schedule_id"] == "soloboard-report"
    assert len(made.json()["next_fire_times"]) == 3
    changed = staff.patch(
        "/api/jobs/report", {"cron": "*/5 * * * *"}, content_type="application/json"
    )
    assert (changed.status_code, changed.json()["is_pushed"]) == (200, True)
    faster = staff.patch(
        "/api/jobs/report", {"cron": "*/20 * * * * *"}, content_type="application/json"
    ).json()
    assert (faster["is_pushed"], faster["messages_per_day"]) == (True, 4_320 + 1_440)
    assert faster["next_fire_times"][0][16:] in (":00+00:00", ":20+00:00", ":40+00:00")
    assert staff.delete("/api/jobs/report").status_code == 204
    assert not ScheduledJob.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron": "every day"}, "cron"),
        ({"timezone": "Mars"}, "timezone"),
        ({"job_key": "gone", "url": ""}, "job_key"),
        ({"headers": {"A B": "1"}}, "headers"),
        ({"secret_headers": {"A B": "1"}}, "secret_headers"),
        ({"retries": "many"}, "retries"),
        ({"key": "a b"}, "key"),
        ({"url": ""}, "__all__"),
    ],
)
def test_bad_input_is_answered_by_field_and_nothing_is_kept(
    staff: Client, change: dict[str, Any], field: str
) -> None:
    answer = post(staff, "/api/jobs", {**JOB, **change})
    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert field in answer.json()["fields"]
    assert not ScheduledJob.objects.exists()


def test_the_key_of_a_schedule_stays(staff: Client) -> None:
    scheduled_job().save()
    answer = staff.patch("/api/jobs/report", {"key": "other"}, content_type="application/json")
    assert answer.status_code == 400
    assert "cannot be changed" in answer.content.decode()


def test_secret_headers_are_taken_and_never_given_back(staff: Client) -> None:
    answer = post(staff, "/api/jobs", {**JOB, "secret_headers": {"X-Key": "made-up-value"}})
    assert answer.json()["secret_header_names"] == ["X-Key"]
    assert "made-up-value" not in answer.content.decode()
    assert "made-up-value" not in staff.get("/api/jobs/report").content.decode()
    changed = staff.patch("/api/jobs/report", {"name": "Other"}, content_type="application/json")
    assert changed.json()["secret_header_names"] == ["X-Key"]
    assert ScheduledJob.objects.get().secret_headers == {"X-Key": "made-up-value"}


def test_an_edit_is_kept_and_marked_when_qstash_is_away(staff: Client) -> None:
    answer = post(staff, "/api/jobs", JOB)
    assert answer.status_code == 201
    assert answer.json()["push_status"] == "failed"
    assert "cannot be reached" in answer.json()["push_error"]


@pytest.mark.usefixtures("remote")
def test_pause_resume_and_run_are_one_call_each(staff: Client, settings: Settings) -> None:
    settings.APP_URL = "http://127.0.0.1:1"
    scheduled_job(job_key="sync-sites").save()
    assert post(staff, "/api/jobs/report/pause").json()["enabled"] is False
    assert post(staff, "/api/jobs/report/resume").json()["enabled"] is True
    answer = post(staff, "/api/jobs/report/run")
    assert answer.status_code == 202
    assert answer.json()["message_id"].startswith("msg_")


def test_a_run_that_qstash_does_not_take_is_answered_with_502(staff: Client) -> None:
    scheduled_job().save()
    answer = post(staff, "/api/jobs/report/run")
    assert answer.status_code == 502
    assert "cannot be reached" in answer.json()["error"]


def test_runs_are_filtered_and_take_no_more_queries_the_more_there_are(
    staff: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        JobRun.objects.create(
            job_key="a" if number % 2 else "b",
            trigger="api",
            status="succeeded" if number % 5 else "failed",
            lease_expires_at=timezone.now(),
        )
    with django_assert_num_queries(3):
        runs = staff.get("/api/runs?job=a&status=failed").json()["results"]
    assert {(run["job_key"], run["status"]) for run in runs} == {("a", "failed")}
    assert staff.get("/api/runs?status=odd").status_code == 400


def test_the_schema_is_valid_and_names_the_webhooks(staff: Client) -> None:
    schema = staff.get("/api/schema").content.decode()
    for path in ("/api/cron/sync-sites", "/api/init", "/api/jobs/{key}/run", "/api/runs"):
        assert f"\n  {path}:" in schema


def test_init_shows_a_plan_and_then_does_it(
    remote: QStash, settings: Settings, staff: Client
) -> None:
    bearer = {"Authorization": f"Bearer {settings.CRON_SECRET}"}
    assert Client().get("/api/init").status_code == 401
    keys = [job.key for job in registry.scheduled]
    assert Client().get("/api/init", headers=bearer).json()["plan"]["create"] == keys
    assert not ScheduledJob.objects.exists()
    assert post(Client(), "/api/init", headers=bearer).json()["done"]["create"] == keys
    assert sorted(post(staff, "/api/init").json()["done"]["unchanged"]) == keys
