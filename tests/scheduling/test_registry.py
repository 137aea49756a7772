import pytest
from django.core.exceptions import ImproperlyConfigured

from scheduling.checks import check_proposed_cadences
from scheduling.registry import Job, Registry, registry
from scheduling.run import JobResult, Run


def do_nothing(run: Run) -> JobResult:
    return JobResult(message="done", counts={})


def make_job(key: str, path: str = "work", body: dict[str, str] | None = None) -> Job:
    return Job(key=key, name=key, function=do_nothing, path=path, cron="0 * * * *", body=body or {})


def test_two_jobs_with_one_key_are_refused() -> None:
    jobs = Registry()
    jobs.register(make_job("a"))
    with pytest.raises(ImproperlyConfigured, match="give one another key"):
        jobs.register(make_job("a", path="other"))


def test_two_jobs_with_one_path_need_different_actions() -> None:
    jobs = Registry()
    jobs.register(make_job("a", body={"action": "one"}))
    jobs.register(make_job("b", body={"action": "two"}))
    with pytest.raises(ImproperlyConfigured, match="its own 'action'"):
        jobs.register(make_job("c", body={"action": "two"}))


def test_action_chooses_among_jobs_of_one_path() -> None:
    jobs = Registry()
    one, two = make_job("a", body={"action": "one"}), make_job("b", body={"action": "two"})
    jobs.register(one)
    jobs.register(two)
    assert jobs.find("work", "two") is two
    assert jobs.find("work", "three") is None
    assert jobs.find("work", None) is None


def test_the_only_job_of_a_path_needs_no_action() -> None:
    jobs = Registry()
    jobs.register(make_job("a"))
    assert jobs.find("work", None) is jobs["a"]
    assert jobs.find("elsewhere", None) is None


def test_a_job_without_a_cadence_is_called_but_not_scheduled() -> None:
    jobs = Registry()
    jobs.register(make_job("a"))
    jobs.register(Job(key="b", name="b", function=do_nothing, path="parts"))
    assert [job.key for job in jobs.scheduled] == ["a"]
    assert jobs.find("parts", None) is jobs["b"]
    assert "parts" in jobs.paths


def test_jobs_of_every_app_are_found() -> None:
    job = registry["sync-sites"]
    assert (job.path, job.method, job.cron, job.timezone) == (
        "cron/sync-sites",
        "GET",
        "*/15 * * * *",
        "UTC",
    )
    assert (job.name, job.retries, job.retry_delay_ms, job.timeout_s) == (
        "SoloBoard Data Sync",
        3,
        "60000",
        300,
    )


def test_a_proposed_cadence_that_is_none_is_found_by_the_checks() -> None:
    job = Job(key="bad", name="Bad", function=do_nothing, path="bad", cron="every day")
    registry.register(job)
    try:
        (message,) = check_proposed_cadences()
    finally:
        registry.unregister("bad")
    assert message.id == "scheduling.E010"
    assert "The job bad proposes" in message.msg
    assert check_proposed_cadences() == []
