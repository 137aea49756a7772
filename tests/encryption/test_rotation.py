import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from encryption import rotation
from encryption.keyring import keyring
from encryption.rotation import Rotated, rotate
from scheduling.models import ScheduledJob
from sites.models import MonitoredSite

pytestmark = pytest.mark.django_db

NEW_KEY = "a-made-up-newer-key-" * 2
LOST_KEY = "a-made-up-key-that-was-lost-" * 2


def add_sites(count: int, prefix: str = "site") -> list[MonitoredSite]:
    return [
        MonitoredSite.objects.create(
            name=f"{prefix} {number}", platform="uptime", credentials={"token": f"first {number}"}
        )
        for number in range(count)
    ]


def add_newer_key(settings: Settings) -> None:
    settings.SOLOBOARD_SECRET_KEYS = [NEW_KEY, *settings.SOLOBOARD_SECRET_KEYS]


def tokens() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM monitored_sites ORDER BY id")
        return [token for (token,) in cursor.fetchall()]


def of_sites(rotated: Any) -> Rotated:
    (found,) = [entry for entry in rotated if entry.column == "sites.MonitoredSite.credentials"]
    assert isinstance(found, Rotated)
    return found


def test_every_secret_of_every_model_ends_under_the_newest_key_and_stays_what_it_was(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH_SIZE", 3)
    sites = add_sites(7)
    MonitoredSite.objects.create(name="without", platform="uptime")
    job = ScheduledJob.objects.create(
        key="backup", name="Backup", cron="0 0 * * *", url="https://backup.example",
        secret_headers={"X-Key": "made-up"},
    )  # fmt: skip
    add_newer_key(settings)
    MonitoredSite.objects.get(pk=sites[0].pk).save()
    assert sum(entry.rewritten for entry in rotate()) == 7
    settings.SOLOBOARD_SECRET_KEYS = [NEW_KEY]
    assert all(keyring().is_newest(token) for token in tokens() if token)
    assert tokens()[-1] == ""
    for number, site in enumerate(sites):
        site.refresh_from_db()
        assert site.credentials == {"token": f"first {number}"}
    job.refresh_from_db()
    assert job.secret_headers == {"X-Key": "made-up"}


def test_nothing_but_the_secret_changes(settings: Settings) -> None:
    (site,) = add_sites(1)
    add_newer_key(settings)
    with CaptureQueriesContext(connection) as queries:
        list(rotate())
    edited_at = site.updated_at
    site.refresh_from_db()
    assert site.updated_at == edited_at
    (update,) = [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]
    assert update.startswith('UPDATE "monitored_sites" SET "credentials" =')


def test_a_second_time_there_is_nothing_to_do(settings: Settings) -> None:
    add_sites(3)
    add_newer_key(settings)
    assert of_sites(rotate()).rewritten == 3
    before = tokens()
    again = of_sites(rotate())
    assert (again.rewritten, again.already_new, again.unreadable) == (0, 3, [])
    assert tokens() == before


def test_a_dry_run_counts_and_changes_nothing(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    add_sites(3)
    add_newer_key(settings)
    before = tokens()
    call_command("rotate_secrets", dry_run=True)
    said = capsys.readouterr().out
    assert tokens() == before
    assert "sites.MonitoredSite.credentials: 3 to be encrypted anew, 0 have" in said
    assert "Run this again without --dry-run." in said


def test_the_command_says_what_it_did_and_that_old_keys_may_go(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    add_sites(2)
    add_newer_key(settings)
    call_command("rotate_secrets")
    said = capsys.readouterr().out
    assert "sites.MonitoredSite.credentials: 2 encrypted anew, 0 have" in said
    assert "the others may be removed" in said
    assert "first 0" not in said


def test_what_no_key_reads_is_left_and_named_while_the_rest_is_done(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = settings.SOLOBOARD_SECRET_KEYS
    settings.SOLOBOARD_SECRET_KEYS = [LOST_KEY]
    lost = add_sites(12, "lost")
    settings.SOLOBOARD_SECRET_KEYS = keys
    add_sites(2)
    add_newer_key(settings)
    before = tokens()
    with pytest.raises(CommandError) as refusal:
        call_command("rotate_secrets")
    assert refusal.value.returncode != 0
    assert f"sites.MonitoredSite.credentials of row {lost[0].pk}: " in str(refusal.value)
    assert "and 2 more" in str(refusal.value)
    assert "Remove no key" in str(refusal.value)
    assert "2 encrypted anew, 0 have the first key already, 12 cannot be read" in (
        capsys.readouterr().out
    )
    assert tokens()[:12] == before[:12]
    assert all(keyring().is_newest(token) for token in tokens()[12:])


# --- While the app serves -------------------------------------------------------------------------


def in_thread(work: Callable[[], object], errors: list[Exception]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def waits_for_a_lock(thread: threading.Thread) -> bool:
    """Wait until it waits for us; False when it ends without."""
    with connection.cursor() as cursor:
        while thread.is_alive():
            cursor.execute(
                "SELECT count(*) FROM pg_locks"
                " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
            )
            if cursor.fetchone()[0]:
                return True
    return False


@pytest.mark.django_db(transaction=True)
def test_an_edit_under_way_is_waited_for_and_kept(settings: Settings) -> None:
    first, second = add_sites(2)
    add_newer_key(settings)
    errors: list[Exception] = []
    with transaction.atomic():
        # An old process, which does not know the newer key yet, writes with the old one.
        old = json.dumps({"token": "edited"})
        with connection.cursor() as cursor:
            settings.SOLOBOARD_SECRET_KEYS = settings.SOLOBOARD_SECRET_KEYS[1:]
            token = keyring().encrypt(old)
            settings.SOLOBOARD_SECRET_KEYS = [NEW_KEY, *settings.SOLOBOARD_SECRET_KEYS]
            cursor.execute(
                "UPDATE monitored_sites SET credentials = %s WHERE id = %s", [token, second.pk]
            )
            thread = in_thread(lambda: list(rotate()), errors)
            assert waits_for_a_lock(thread)
    thread.join()
    assert errors == []
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.credentials, second.credentials) == ({"token": "first 0"}, {"token": "edited"})
    assert all(keyring().is_newest(token) for token in tokens())


@pytest.mark.django_db(transaction=True)
def test_many_edits_at_once_are_all_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH_SIZE", 4)
    sites = add_sites(24)
    add_newer_key(settings)
    errors: list[Exception] = []
    edited = threading.Event()

    def edit(mine: list[MonitoredSite]) -> None:
        for turn in range(8):
            for site in mine:
                fresh = MonitoredSite.objects.get(pk=site.pk)
                fresh.credentials = {"token": f"turn {turn} of {site.pk}"}
                fresh.save_settings()
        edited.set()

    def rotate_until_done() -> None:
        while not edited.is_set():
            list(rotate())

    threads = [
        in_thread(lambda: edit(sites[::2]), errors),
        in_thread(lambda: edit(sites[1::2]), errors),
        in_thread(rotate_until_done, errors),
    ]
    for thread in threads:
        thread.join()
    assert errors == []
    list(rotate())
    settings.SOLOBOARD_SECRET_KEYS = [NEW_KEY]
    stored = {site.pk: site.credentials for site in MonitoredSite.objects.all()}
    assert stored == {site.pk: {"token": f"turn 7 of {site.pk}"} for site in sites}
