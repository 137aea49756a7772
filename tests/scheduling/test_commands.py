import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings
from qstash import QStash

from scheduling.errors import PayloadRefused, RetryLater
from scheduling.models import JobRun, ScheduledJob
from scheduling.registry import Job, registry
from scheduling.run import JobResult, Run
from tests.scheduling.factories import scheduled_job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def job() -> Iterator[Job]:
    """A job whose behaviour each test sets by its payload."""

    def work(run: Run) -> JobResult:
        if run.payload.get("refuse"):
            raise PayloadRefused("That is not possible.")
        if run.payload.get("later"):
            raise RetryLater("Not now.")
        left = run.payload.get("left", 0)
        rest = {"left": left - 1} if left else None
        return JobResult(message="Worked", counts={"left": left}, continuation=rest)

    job = Job(key="work", name="Work", function=work, path="work", cron="0 * * * *")
    registry.register(job)
    yield job
    registry.unregister("work")


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.usefixtures("remote")
class TestInitQStash:
    def test_dry_run_prints_the_plan_and_changes_nothing(self) -> None:
        assert "would create   sync-sites" in run("init_qstash", "--dry-run")
        assert not ScheduledJob.objects.exists()

    def test_creates_then_leaves_alone(self) -> None:
        assert "create   sync-sites" in run("init_qstash")
        second = run("init_qstash")
        assert "unchanged sync-sites" in second
        assert "Nothing to do." in second

    def test_a_row_that_qstash_refuses_fails_the_command_with_the_reason(self) -> None:
        ScheduledJob.objects.bulk_create([scheduled_job(job_key="gone")])
        with pytest.raises(CommandError, match="No job is registered as 'gone'"):
            run("init_qstash")


@pytest.fixture
def often() -> Iterator[Job]:
    """A default job of every five seconds."""

    def work(run: Run) -> JobResult:
        return JobResult(message="Worked", counts={})

    job = Job(key="often", name="Often", function=work, path="often", cron="*/5 * * * * *")
    registry.register(job)
    yield job
    registry.unregister("often")


@pytest.fixture
def only_sites_are_synced() -> Iterator[None]:
    """Leave the jobs of other apps out: what a plan holds depends on all of them."""
    others = [job for job in registry.scheduled if job.key not in ("often", "sync-sites")]
    for other in others:
        registry.unregister(other.key)
    yield
    for other in others:
        registry.register(other)


@pytest.mark.usefixtures("often", "only_sites_are_synced")
class TestInitQStashWithPlan:
    def test_the_free_plan_slows_the_most_expensive_and_says_so(self, remote: QStash) -> None:
        out = run("init_qstash", "--plan", "free")
        assert "Upstash's plan Free ($0) holds 1,000 messages a day:" in out
        assert "      720  often: */2 * * * * instead of */5 * * * * *\n" in out
        assert "       96  sync-sites: */15 * * * *\n" in out
        assert "      816  together, without retries" in out
        assert remote.schedule.get("soloboard-often").cron == "*/2 * * * *"
        assert "Nothing to do." in run("init_qstash", "--plan", "free")

    def test_without_a_plan_no_row_is_changed(self, remote: QStash) -> None:
        run("init_qstash", "--plan", "free")
        ScheduledJob.objects.filter(key="sync-sites").update(cron="*/30 * * * *")
        run("init_qstash")
        assert dict(ScheduledJob.objects.values_list("key", "cron")) == {
            "often": "*/2 * * * *",
            "sync-sites": "*/30 * * * *",
        }

    def test_another_plan_changes_the_rows_and_says_what(self, remote: QStash) -> None:
        run("init_qstash", "--plan", "free")
        dry = run("init_qstash", "--plan", "pay-as-you-go", "--dry-run")
        assert "would change   often (*/2 * * * * becomes */5 * * * * *)" in dry
        assert "any number of messages a day" in dry
        assert ScheduledJob.objects.get(key="often").cron == "*/2 * * * *"
        out = run("init_qstash", "--plan", "pay-as-you-go")
        assert "\nchange   often (*/2 * * * * becomes */5 * * * * *)" in out
        assert "18,816  together" in out
        row = ScheduledJob.objects.get(key="often")
        assert (row.cron, row.is_pushed) == ("*/5 * * * * *", True)
        assert remote.schedule.get("soloboard-often").cron == "* * * * *"

    def test_what_else_runs_leaves_less_and_what_is_paused_takes_nothing(
        self, remote: QStash
    ) -> None:
        ScheduledJob.objects.bulk_create(
            [
                scheduled_job(cron="*/2 * * * *"),
                scheduled_job(key="paused", cron="* * * * * *", enabled=False),
            ]
        )
        out = run("init_qstash", "--plan", "free")
        assert "      720  1 other schedule(s), left as they are\n" in out
        assert "often: */15 * * * * instead of */5 * * * * *" in out
        assert "sync-sites: */30 * * * * instead of */15 * * * *" in out
        assert "      864  together" in out
        assert ScheduledJob.objects.get(key="paused").cron == "* * * * * *"

    def test_what_cannot_fit_changes_nothing(self, remote: QStash) -> None:
        ScheduledJob.objects.bulk_create([scheduled_job(cron="* * * * *")])
        with pytest.raises(CommandError, match="a tenth of them for retries"):
            run("init_qstash", "--plan", "free")
        ScheduledJob.objects.all().delete()
        ScheduledJob.objects.bulk_create([scheduled_job(key=f"report-{n}") for n in range(9)])
        with pytest.raises(CommandError, match=r"There are 11 schedules, .* Free takes 10"):
            run("init_qstash", "--plan", "free")
        assert not ScheduledJob.objects.filter(key="often").exists()
        assert remote.schedule.list() == []


def test_init_qstash_says_what_to_do_when_qstash_is_away() -> None:
    with pytest.raises(CommandError, match="check_qstash"):
        run("init_qstash")


class TestCheckQStash:
    @pytest.mark.usefixtures("remote")
    def test_success_prints_the_promised_lines(self, settings: Settings) -> None:
        settings.APP_URL = "http://127.0.0.1:8000"
        call_command("init_qstash", stdout=StringIO())
        out = run("check_qstash")
        assert "✅ QStash client initialized successfully\n" in out
        assert f"✅ Found {len(registry.scheduled)} existing schedule(s)\n" in out

    def test_each_wrong_setting_is_named_with_its_mend(
        self, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.CRON_SECRET = "short"
        settings.QSTASH_URL = "http://127.0.0.1:1/v2/publish"
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("check_qstash", stdout=out)
        assert "CRON_SECRET must be" in out.getvalue()
        assert "without /v2/publish" in out.getvalue()

    def test_an_unreachable_server_fails_the_command(self) -> None:
        with pytest.raises(CommandError, match="cannot be reached"):
            run("check_qstash")


class TestRunJob:
    def test_runs_here_and_prints_the_answer(self, job: Job) -> None:
        answer = json.loads(run("run_job", "work"))
        assert (answer["success"], answer["message"]) == (True, "Worked")
        record = JobRun.objects.get()
        assert (record.trigger, record.status) == ("command", "succeeded")
        assert record.caller

    def test_goes_on_until_nothing_is_left(self, job: Job) -> None:
        answer = json.loads(run("run_job", "work", "--payload", '{"left": 2}'))
        assert answer["result"]["left"] == 0
        assert list(JobRun.objects.order_by("pk").values_list("trigger", flat=True)) == [
            "command",
            "continuation",
            "continuation",
        ]

    def test_an_unknown_job_is_answered_with_those_there_are(self) -> None:
        with pytest.raises(CommandError, match=r"there are: .*sync-sites"):
            run("run_job", "nothing")

    @pytest.mark.parametrize("payload", ["{", "[]", "text"])
    def test_a_payload_that_is_no_object_is_refused(self, job: Job, payload: str) -> None:
        with pytest.raises(CommandError, match="--payload"):
            run("run_job", "work", "--payload", payload)

    @pytest.mark.parametrize(
        ("payload", "says"), [('{"refuse": 1}', "not possible"), ('{"later": 1}', "Not now")]
    )
    def test_a_failed_run_fails_the_command_with_its_reason(
        self, job: Job, payload: str, says: str
    ) -> None:
        with pytest.raises(CommandError, match=says):
            run("run_job", "work", "--payload", payload)

    def test_a_run_that_is_still_going_is_not_run_beside(self, job: Job) -> None:
        lease = timezone.now() + timedelta(minutes=5)
        JobRun.objects.create(job_key="work", trigger="schedule", lease_expires_at=lease)
        with pytest.raises(CommandError, match="still going"):
            run("run_job", "work")

    @pytest.mark.usefixtures("remote")
    def test_through_qstash_publishes_a_message(self, settings: Settings) -> None:
        settings.APP_URL = "http://127.0.0.1:1"
        out = run("run_job", "sync-sites", "--through-qstash")
        assert "is on its way to http://127.0.0.1:1/api/cron/sync-sites" in out
        assert not JobRun.objects.exists()
