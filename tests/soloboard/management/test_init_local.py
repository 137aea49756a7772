from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import call_command

from sites.configuration import clean_options
from sites.models import MonitoredSite
from soloboard.management.commands.init_local import PASSWORD_FILE

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text("made-up-password\n")
    monkeypatch.setenv(PASSWORD_FILE, str(file))


def init() -> None:
    call_command("init_local", stdout=StringIO())


def test_a_new_installation_gets_an_admin_and_sites_to_look_at() -> None:
    init()
    assert authenticate(username="admin", password="made-up-password")
    assert set(MonitoredSite.objects.values_list("name", "platform")) == {
        ("SoloBoard itself", "uptime"),
        ("Demo shop", "custom_json"),
    }


def test_what_was_deleted_or_changed_since_stays_so() -> None:
    init()
    MonitoredSite.objects.all().delete()
    admin = User.objects.get()
    admin.set_password("another-made-up-password")
    admin.save()
    init()
    assert not MonitoredSite.objects.exists()
    assert authenticate(username="admin", password="another-made-up-password")


def test_the_demo_sites_have_options_that_their_platforms_accept() -> None:
    init()
    for site in MonitoredSite.objects.all():
        clean_options(site.fetcher, site.fetcher.options(site.options))
