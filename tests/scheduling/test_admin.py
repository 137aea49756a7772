from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from qstash import QStash

from scheduling.models import JobRun, ScheduledJob
from tests.scheduling.factories import scheduled_job

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/scheduling/scheduledjob/"
FORM = {
    "name": "Report",
    "key": "report",
    "description": "",
    "enabled": "on",
    "cron": "0 7 * * MON",
    "timezone": "UTC",
    "job_key": "",
    "url": "https://example.com/report",
    "method": "POST",
    "body": "",
    "headers": "",
    "secret_headers": "",
    "retries": "3",
    "retry_delay_ms": "",
    "timeout_s": "5m",
    "label": "",
    "callback_url": "",
    "failure_callback_url": "",
}


@pytest.fixture
def founder(settings: Settings) -> Client:
    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client()
    client.force_login(User.objects.create_superuser("founder"))
    return client


def page(response: Any) -> str:
    assert response.status_code == 200
    text: str = response.content.decode()
    return text


def save(client: Client, path: str = f"{LIST}add/", **fields: str) -> str:
    return page(client.post(path, {**FORM, **fields}, follow=True))


def act(client: Client, action: str, *jobs: ScheduledJob) -> str:
    data = {"action": action, "_selected_action": [job.pk for job in jobs]}
    return page(client.post(LIST, data, follow=True))


def test_a_schedule_saved_in_the_admin_stands_at_qstash(founder: Client, remote: QStash) -> None:
    save(founder, timeout_s="1m30s", headers="X-One: 1", secret_headers="X-Key: made-up-value")
    schedule = remote.schedule.get("soloboard-report")
    assert (schedule.timeout, schedule.headers) == (
        90,
        {"X-One": ["1"], "X-Key": ["made-up-value"]},
    )
    assert "up to date" in page(founder.get(LIST))


def test_a_schedule_is_kept_and_the_admin_says_so_when_qstash_is_away(founder: Client) -> None:
    text = save(founder)
    assert "Saved, but QStash does not have it yet" in text
    assert "cannot be reached" in page(founder.get(LIST))
    assert ScheduledJob.objects.get().push_status == "failed"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("cron", "61 * * * *", "61 is out of range"),
        ("timezone", "Mars", "IANA name"),
        ("timeout_s", "soon", "Write seconds (90)"),
        ("timeout_s", "3h", "7200"),
        ("retry_delay_ms", "now()", "not part of the language"),
        ("headers", "X-One", "Line 1: write a header"),
        ("secret_headers", "X-Key: geheim-ü", "printable ASCII"),
        ("url", "", "one of the two"),
        ("job_key", "sync-sites", "one of the two"),
        ("retries", "99", "20"),
    ],
)
def test_bad_input_is_refused_beside_the_field(
    founder: Client, field: str, value: str, says: str
) -> None:
    text = save(founder, **{field: value})
    assert says in text
    assert not ScheduledJob.objects.exists()


def test_secret_headers_are_merged_removed_and_never_shown(founder: Client) -> None:
    save(founder, secret_headers="X-Key: made-up-value\nX-Old: made-up-older")
    job = ScheduledJob.objects.get()
    path = f"{LIST}{job.pk}/change/"
    text = page(founder.get(path))
    assert "X-Key: ••••••, X-Old: ••••••" in text
    assert "made-up" not in text
    save(founder, path, secret_headers="x-key: made-up-newer\nX-Old:\nX-New: made-up-third")
    job.refresh_from_db()
    assert job.secret_headers == {"x-key": "made-up-newer", "X-New": "made-up-third"}
    save(founder, path)
    job.refresh_from_db()
    assert job.secret_headers == {"x-key": "made-up-newer", "X-New": "made-up-third"}
    history = str(list(LogEntry.objects.values()))
    assert "made-up" not in history


def test_a_refused_form_does_not_show_the_typed_secret_as_stored(founder: Client) -> None:
    save(founder, secret_headers="X-Key: made-up-value", cron="bad")
    assert not ScheduledJob.objects.exists()


def test_the_key_is_fixed_once_saved(founder: Client) -> None:
    save(founder)
    job = ScheduledJob.objects.get()
    save(founder, f"{LIST}{job.pk}/change/", key="other", name="Renamed")
    job.refresh_from_db()
    assert (job.key, job.name) == ("report", "Renamed")


def test_actions_pause_resume_push_and_run(founder: Client, remote: QStash) -> None:
    save(founder, url="http://127.0.0.1:1/report")
    job = ScheduledJob.objects.get()
    act(founder, "pause", job)
    assert remote.schedule.get("soloboard-report").paused
    assert "paused" in page(founder.get(LIST))
    act(founder, "resume", job)
    assert not remote.schedule.get("soloboard-report").paused
    remote.schedule.delete("soloboard-report")
    assert "QStash has it as it is here" in act(founder, "push_again", job)
    assert remote.schedule.get("soloboard-report").cron == "0 7 * * MON"
    assert "on its way as QStash message msg_" in act(founder, "run_now", job)


def test_actions_say_when_qstash_is_away(founder: Client) -> None:
    ScheduledJob.objects.bulk_create([scheduled_job()])
    job = ScheduledJob.objects.get()
    assert "kept, but not pushed" in act(founder, "pause", job)
    job.refresh_from_db()
    assert not job.enabled
    assert "cannot be reached" in act(founder, "run_now", job)


def test_deleting_several_removes_them_at_qstash(founder: Client, remote: QStash) -> None:
    for key in ("one", "two"):
        save(founder, key=key)
    jobs = ScheduledJob.objects.all()
    data = {
        "action": "delete_selected",
        "_selected_action": [job.pk for job in jobs],
        "post": "yes",
    }
    founder.post(LIST, data)
    left = {schedule.schedule_id for schedule in remote.schedule.list()}
    assert not {"soloboard-one", "soloboard-two"} & left


def test_usual_cadences_are_offered_and_others_may_be_typed(founder: Client) -> None:
    text = page(founder.get(f"{LIST}add/"))
    for cron in (
        "*/5 * * * * *",
        "*/30 * * * * *",
        "*/5 * * * *",
        "*/10 * * * *",
        "*/15 * * * *",
        "*/30 * * * *",
        "0 * * * *",
    ):
        assert f'<option value="{cron}">' in text
    save(founder, cron="7 3 * * SUN")
    assert ScheduledJob.objects.get().cron == "7 3 * * SUN"


def test_the_list_shows_words_next_fire_and_last_run(founder: Client) -> None:
    ScheduledJob.objects.bulk_create([scheduled_job(job_key="sync-sites", cron="*/15 * * * *")])
    JobRun.objects.create(
        job_key="sync-sites",
        trigger="schedule",
        status="failed",
        started_at=timezone.now() - timedelta(minutes=2),
        lease_expires_at=timezone.now(),
    )
    text = page(founder.get(LIST))
    assert "Every 15 minutes" in text
    assert "<code>*/15 * * * *</code>" in text
    assert 'class="pill bad">failed' in text


def test_the_list_takes_as_many_queries_for_many_rows_as_for_few(
    founder: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ScheduledJob.objects.bulk_create([scheduled_job(key=f"report-{n}") for n in range(30)])
    with django_assert_num_queries(5):
        page(founder.get(LIST))


def test_runs_can_be_read_and_filtered_and_not_changed(founder: Client) -> None:
    run = JobRun.objects.create(
        job_key="sync-sites",
        trigger="api",
        status="succeeded",
        counts={"total": 2},
        answer={"success": True},
        lease_expires_at=timezone.now(),
    )
    runs = "/admin/scheduling/jobrun/"
    assert "SoloBoard Data Sync" in page(founder.get(f"{runs}?status__exact=succeeded"))
    assert "total 2" in page(founder.get(f"{runs}{run.pk}/change/"))
    assert founder.get(f"{runs}add/").status_code == 403
    assert founder.post(f"{runs}{run.pk}/change/", {"status": "failed"}).status_code == 403
    assert founder.post(f"{runs}{run.pk}/delete/", {"post": "yes"}).status_code == 403


def test_what_a_cadence_costs_is_told_while_it_is_typed(founder: Client) -> None:
    ScheduledJob.objects.bulk_create(
        [scheduled_job(cron="*/15 * * * *"), scheduled_job(key="off", enabled=False)]
    )
    text = page(founder.get(f"{LIST}cost", {"cron": "*/5 * * * * *"}))
    assert "Every 5 seconds: 18,720 messages a day" in text
    assert "1,440 for the calls of each minute" in text
    for share in (
        "18.7 times the 1,000 a day",
        "$5.69 a month",
        "1.87% of 1,000,000 a day",
        "0.187% of 10,000,000 a day",
    ):
        assert share in text
    assert "Together with 1 other schedule that is not paused: 18,816 a day" in text
    row = ScheduledJob.objects.get(key="report")
    text = page(founder.get(f"{LIST}cost", {"cron": "0 * * * *", "row": str(row.pk)}))
    assert "Every hour: 24 messages a day" in text
    assert "Together" not in text
    assert "second field" in page(founder.get(f"{LIST}cost", {"cron": "x * * * * *"}))
    assert "is shown here" in page(founder.get(f"{LIST}cost", {"cron": " "}))
    page(founder.get(f"{LIST}cost", {"cron": "* * * * *", "row": "x"}))


def test_the_form_tells_the_cost_without_a_script_too(founder: Client) -> None:
    assert '"*/5 * * * * *">every 5 seconds: 18,720 messages a day<' in page(
        founder.get(f"{LIST}add/")
    )
    refused = save(founder, cron="*/10 * * * * *", retries="99")
    assert "Every 10 seconds: 10,080 messages a day" in refused
    save(founder, cron="*/10 * * * * *")
    job = ScheduledJob.objects.get()
    assert "10,080 messages a day" in page(founder.get(f"{LIST}{job.pk}/change/"))


def test_costs_are_told_to_those_who_may_see_schedules(founder: Client) -> None:
    visitor = Client()
    visitor.force_login(User.objects.create_user("visitor", is_staff=True))
    assert visitor.get(f"{LIST}cost", {"cron": "* * * * *"}).status_code == 403
    assert Client().get(f"{LIST}cost").status_code == 302


def test_a_cadence_within_a_minute_is_shown_with_its_seconds(founder: Client) -> None:
    ScheduledJob.objects.bulk_create([scheduled_job(cron="30 0 7 * * MON")])
    job = ScheduledJob.objects.get()
    text = page(founder.get(f"{LIST}{job.pk}/change/"))
    assert "07:00:30 UTC" in text
    text = page(founder.get(LIST))
    assert "At 07:00:30, only on Monday" in text
    assert "<code>30 0 7 * * MON</code>" in text
