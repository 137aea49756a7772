import json

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from encryption.keyring import DecryptionFailed
from sites.models import MonitoredSite

pytestmark = pytest.mark.django_db


def save_site(**credentials: str) -> MonitoredSite:
    return MonitoredSite.objects.create(
        name="Shop", platform="custom_json", credentials=credentials
    )


def stored_text() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM monitored_sites")
        text: str = cursor.fetchone()[0]
        return text


def test_the_database_holds_neither_names_nor_values() -> None:
    save_site(secret="made-up-value")
    assert "made-up-value" not in stored_text()
    assert "secret" not in stored_text()
    assert MonitoredSite.objects.get().credentials == {"secret": "made-up-value"}


def test_no_secrets_need_no_key() -> None:
    save_site()
    assert stored_text() == ""
    assert MonitoredSite.objects.get().credentials == {}


def test_a_missing_key_fails_loudly(settings: Settings) -> None:
    save_site(secret="made-up-value")
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    with pytest.raises(DecryptionFailed, match="SOLOBOARD_SECRET_KEYS"):
        MonitoredSite.objects.get()


def test_an_added_key_reads_what_the_old_one_wrote(settings: Settings) -> None:
    save_site(secret="made-up-value")
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2, *settings.SOLOBOARD_SECRET_KEYS]
    site = MonitoredSite.objects.get()
    before = stored_text()
    site.save()
    assert stored_text().partition(":")[0] != before.partition(":")[0]


def test_a_dump_stays_encrypted_and_can_be_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    save_site(secret="made-up-value")
    call_command("dumpdata", "sites.monitoredsite")
    dump = capsys.readouterr().out
    assert "made-up-value" not in dump
    assert json.loads(dump)[0]["fields"]["credentials"]


def test_forms_made_from_the_model_leave_the_field_out() -> None:
    field = MonitoredSite._meta.get_field("credentials")
    assert not field.editable
