"""A deleted site takes its data and its secrets with it, whichever way it is deleted."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import CASCADE, Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from sites.models import Incident, MonitoredSite, SiteDay, SiteHour, SiteSnapshot, SyncLog
from tests.sites.conftest import AddSite, RunSync
from tests.sites.loopback import http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

SECRET = "made-up-secret"
Delete = Callable[[Client, MonitoredSite], Any]


def by_admin_page(client: Client, site: MonitoredSite) -> None:
    address = reverse("admin:sites_monitoredsite_delete", args=[site.pk])
    assert client.post(address, {"post": "yes"}).status_code == 302


def by_admin_list(client: Client, site: MonitoredSite) -> None:
    data = {"action": "delete_selected", "_selected_action": [str(site.pk)], "post": "yes"}
    assert client.post(reverse("admin:sites_monitoredsite_changelist"), data).status_code == 302


def by_api(client: Client, site: MonitoredSite) -> None:
    assert client.delete(f"/api/sites/{site.pk}").status_code == 204


def by_query(client: Client, site: MonitoredSite) -> None:
    MonitoredSite.objects.filter(pk=site.pk).delete()


def values(statement: str, *arguments: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return [row[0] for row in cursor.fetchall()]


def rows_of(site: MonitoredSite) -> dict[str, int]:
    """How many rows of which tables belong to a site."""
    tables = values(
        "SELECT quote_ident(table_name) FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'site_id'"
    )
    counts = {
        table: values(f"SELECT count(*) FROM {table} WHERE site_id = %s", site.pk)[0]  # noqa: S608
        for table in tables
    }
    return {table: count for table, count in counts.items() if count}


def tables_with(text: str) -> list[str]:
    """The tables in which a text stands."""
    tables = values(
        "SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public'"
    )
    return [
        table
        for table in tables
        if values(f"SELECT count(*) FROM {table} AS t WHERE row_to_json(t)::text LIKE %s", f"%{text}%")[0]  # noqa: S608
    ]  # fmt: skip


@pytest.mark.parametrize("delete", [by_admin_page, by_admin_list, by_api, by_query])
def test_nothing_of_a_deleted_site_is_left_but_its_name_in_the_logs(
    delete: Delete, add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("me"))
    fields = {"credentials": {"token": SECRET}, "failures_to_open": 1}
    gone, kept = add_site("gone", **fields), add_site("kept", **fields)
    website.pages |= {"/gone": http(status=500), "/kept": http(status=500)}
    run_sync()
    for site in (gone, kept):
        SiteHour.objects.create(site=site, begins_at=timezone.now())
        SiteDay.objects.create(site=site, day=timezone.now().date())
    (token,) = values("SELECT credentials FROM monitored_sites WHERE id = %s", gone.pk)
    assert tables_with(token) == ["monitored_sites"]
    of_kept = rows_of(kept)
    assert {"incidents", "site_snapshots", "site_hours", "site_days"} <= set(rows_of(gone))

    delete(client, gone)

    assert MonitoredSite.objects.get() == kept
    assert rows_of(gone) == {}
    assert rows_of(kept) == of_kept
    assert tables_with(token) == []
    assert tables_with(SECRET) == []
    incident = Incident.objects.get()
    assert incident.site == kept
    assert values("SELECT DISTINCT incident_id FROM incident_events") == [incident.pk]
    assert SyncLog.objects.get().errors.keys() == {"gone", "kept"}


def test_whatever_belongs_to_a_site_goes_with_it() -> None:
    """Also what is added later; a table that keeps its rows has to say so here."""
    kept: set[type[Model]] = set()
    related = MonitoredSite._meta.related_objects
    assert {SiteSnapshot, SiteHour, SiteDay, Incident} <= {
        relation.related_model for relation in related
    }
    for relation in related:
        if relation.related_model not in kept:
            assert relation.on_delete is CASCADE, relation
