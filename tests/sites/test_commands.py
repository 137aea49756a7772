from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from scheduling.models import JobRun
from sites import fetching
from sites.models import MonitoredSite, SyncLog
from tests.sites.conftest import AddSite
from tests.sites.loopback import http
from tests.sites.website import Website, after

pytestmark = pytest.mark.django_db

Command = Callable[..., str]


@pytest.fixture
def sync_sites(monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: str) -> str:
        out = StringIO()
        call_command("sync_sites", *words, stdout=out)
        return out.getvalue()

    return run


def test_all_due_sites_are_synced_and_shown_in_a_table(
    add_site: AddSite, website: Website, sync_sites: Command
) -> None:
    add_site("shop")
    add_site("blog")
    add_site("disabled", enabled=False)
    website.pages["/blog"] = http(status=500)
    shown = sync_sites()
    assert sorted(website.paths) == ["/blog", "/shop"]
    line_of = {
        line.split()[1]: line for line in shown.splitlines() if " down " in line or " up " in line
    }
    assert " ms " in line_of["shop"]
    assert "answered 500" in line_of["blog"]
    assert "2 sites, 1 synced, 1 failed," in shown
    run = JobRun.objects.get()
    assert (run.trigger, run.status) == (JobRun.Trigger.COMMAND, JobRun.Status.SUCCEEDED)
    assert run.caller


def test_sites_are_selected_by_name(
    add_site: AddSite, website: Website, sync_sites: Command
) -> None:
    for name in ("shop", "blog", "wiki"):
        add_site(name, not_before=timezone.now() + timedelta(hours=1))
    sync_sites("shop", "wiki")
    assert sorted(website.paths) == ["/shop", "/wiki"]


def test_sites_are_selected_by_platform_and_staleness(
    add_site: AddSite, website: Website, sync_sites: Command
) -> None:
    now = timezone.now()
    add_site("fresh", last_sync_at=now - timedelta(minutes=5))
    add_site("old", last_sync_at=now - timedelta(minutes=50))
    MonitoredSite.objects.create(name="other", platform="custom_json")
    sync_sites("--platform", "uptime", "--stale", "30")
    assert website.paths == ["/old"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["shop", "Shopp"], "There is no site named 'Shopp'."),
        (["\udcff"], r"There is no site named '\udcff'."),
        (["--stale", "-5"], "'stale_minutes' must be a whole number of minutes."),
    ],
)
def test_what_cannot_be_synced_is_said_in_one_sentence(
    add_site: AddSite, website: Website, sync_sites: Command, words: list[str], complaint: str
) -> None:
    add_site("shop")
    with pytest.raises(CommandError) as caught:
        sync_sites(*words)
    assert str(caught.value) == complaint
    assert website.requests == []


def test_an_unknown_platform_is_refused_with_those_there_are(sync_sites: Command) -> None:
    with pytest.raises(CommandError, match=r"custom_json.*uptime"):
        sync_sites("--platform", "gone")


def test_brackets_and_colons_are_shown_as_they_are(
    add_site: AddSite, website: Website, sync_sites: Command
) -> None:
    add_site("[red] :smile:", options={"url": website.url("/a"), "keyword": "[/b]"})
    shown = sync_sites()
    assert "[red] :smile:" in shown
    assert "the page does not contain '[/b]'" in shown


def test_what_the_time_did_not_suffice_for_follows_at_once(
    add_site: AddSite, website: Website, sync_sites: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CONCURRENCY", 1)
    monkeypatch.setattr("scheduling.runner.RESERVED_SHARE", 1 - 0.6 / 300)
    for number in range(6):
        add_site(f"site-{number}")
        website.pages[f"/site-{number}"] = after(0.1)
    shown = sync_sites()
    assert SyncLog.objects.count() > 1
    assert sorted(website.paths) == [f"/site-{number}" for number in range(6)]
    assert "6 sites, 6 synced, 0 failed," in shown


def test_a_site_whose_key_is_missing_is_one_line_of_the_table(
    add_site: AddSite, sync_sites: Command, settings: Settings
) -> None:
    add_site("shop")
    add_site("locked", credentials={"token": "made-up"})
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    shown = sync_sites()
    assert "needs your attention" in shown
    assert "2 sites, 1 synced, 1 failed," in shown


def test_no_sites_are_no_error(sync_sites: Command) -> None:
    assert "0 sites, 0 synced, 0 failed" in sync_sites()
