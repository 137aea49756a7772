import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from sites.models import Incident, MonitoredSite, SiteSnapshot, SyncLog
from tests.sites.conftest import AddSite, RunSync
from tests.sites.loopback import http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

LIST = reverse("admin:sites_monitoredsite_changelist")
ADD = reverse("admin:sites_monitoredsite_add")
SECRET = "made-up-secret"
FORM = {
    "name": "Figures",
    "timezone": "UTC",
    "enabled": "on",
    "option_url": "https://example.com/figures",
    "option_method": "GET",
    "option_auth": "bearer",
    "option_figures": "visitors = v",
}


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("me"))
    return client


def page_of(site: MonitoredSite) -> str:
    return reverse("admin:sites_monitoredsite_change", args=[site.pk])


def html(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def add_figures(staff: Client) -> MonitoredSite:
    answer = staff.post(f"{ADD}?platform=custom_json", {**FORM, "credential_secret": SECRET})
    assert answer.status_code == 302, answer.content.decode()
    return MonitoredSite.objects.get(name="Figures")


def test_adding_asks_for_the_platform_first(staff: Client) -> None:
    choice = html(staff, ADD)
    assert "?platform=uptime" in choice
    assert "?platform=custom_json" in choice
    assert 'name="option_keyword"' in html(staff, f"{ADD}?platform=uptime")
    assert staff.get(f"{ADD}?platform=gone").status_code == 404


def test_a_site_is_added_changed_and_deleted(staff: Client) -> None:
    site = add_figures(staff)
    assert site.credentials == {"secret": SECRET}
    assert staff.post(page_of(site), {**FORM, "name": "Numbers"}).status_code == 302
    site.refresh_from_db()
    assert (site.name, site.credentials) == ("Numbers", {"secret": SECRET})
    delete = reverse("admin:sites_monitoredsite_delete", args=[site.pk])
    assert staff.post(delete, {"post": "yes"}).status_code == 302
    assert not MonitoredSite.objects.exists()


def test_no_page_and_no_history_holds_a_credential(staff: Client) -> None:
    site = add_figures(staff)
    staff.post(page_of(site), {**FORM, "credential_secret": "made-up-newer"})
    refused = staff.post(page_of(site), {**FORM, "name": "", "credential_secret": "made-up-typed"})
    history = reverse("admin:sites_monitoredsite_history", args=[site.pk])
    pages = [html(staff, address) for address in (LIST, page_of(site), history)]
    entries = [entry.change_message + entry.object_repr for entry in LogEntry.objects.all()]
    assert refused.status_code == 200
    assert len(entries) == 2
    assert "made-up-" not in "".join([*pages, *entries, refused.content.decode()])


def test_a_save_does_not_undo_what_a_sync_wrote_since_the_page_was_opened(
    staff: Client, add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    site = add_site("shop")
    data = {"name": "Store", "timezone": "UTC"}
    data |= {f"option_{k}": str(v) for k, v in site.fetcher.options(site.options).items()}
    html(staff, page_of(site))
    run_sync()
    assert staff.post(page_of(site), data).status_code == 302
    site.refresh_from_db()
    assert (site.name, site.enabled, site.state) == ("Store", False, "up")
    assert site.last_sync_at
    assert site.last_snapshot


def test_the_pages_show_state_freshness_latency_and_history(
    staff: Client, add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    website.pages["/down"] = http(status=500)
    up, down, new = add_site("up"), add_site("down"), add_site("new", enabled=False)
    run_sync()
    listed = html(staff, LIST)
    for site in (up, down, new):
        assert page_of(site) in listed
    assert "answered 500 Internal Server Error" in html(staff, page_of(down))
    assert "http_status" in html(staff, page_of(up))
    assert "never" in html(staff, page_of(new))


def test_what_a_site_sent_is_escaped(staff: Client) -> None:
    evil = "<script>alert(1)</script>"
    site = MonitoredSite.objects.create(
        name=evil, platform="uptime", state_reason=evil, last_snapshot={"reason": evil}
    )
    SiteSnapshot.objects.create(site=site, taken_at=timezone.now(), state="down", reason=evil)
    log = SyncLog.objects.create(errors={evil: evil})
    log_page = reverse("admin:sites_synclog_change", args=[log.pk])
    assert evil not in html(staff, LIST) + html(staff, page_of(site)) + html(staff, log_page)


def test_a_site_whose_platform_has_gone_can_be_looked_at_and_deleted(staff: Client) -> None:
    site = MonitoredSite.objects.create(name="Old", platform="gone")
    assert "gone" in html(staff, LIST)
    assert "Old" in html(staff, page_of(site))
    assert staff.post(page_of(site), {"name": "New"}).status_code == 403
    delete = reverse("admin:sites_monitoredsite_delete", args=[site.pk])
    assert staff.post(delete, {"post": "yes"}).status_code == 302


def test_a_site_whose_key_is_missing_hides_no_other_and_can_be_mended(
    staff: Client, settings: Settings
) -> None:
    site = add_figures(staff)
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    assert "Figures" in html(staff, LIST)
    assert "SOLOBOARD_SECRET_KEYS" in html(staff, page_of(site))
    data = {**FORM, "credential_secret": "made-up-newer"}
    assert staff.post(page_of(site), data).status_code == 302
    assert MonitoredSite.objects.get().credentials == {"secret": "made-up-newer"}


def test_deleting_counts_the_history_instead_of_listing_it(
    staff: Client, django_assert_max_num_queries: Any
) -> None:
    site = MonitoredSite.objects.create(name="Shop", platform="uptime")
    now = timezone.now()
    SiteSnapshot.objects.bulk_create(
        SiteSnapshot(site=site, taken_at=now - timedelta(minutes=number), state="up")
        for number in range(500)
    )
    delete = reverse("admin:sites_monitoredsite_delete", args=[site.pk])
    page = html(staff, delete)
    assert "500" in page
    assert len(page) < 20_000
    with django_assert_max_num_queries(20):
        staff.post(delete, {"post": "yes"})
    assert not SiteSnapshot.objects.exists()


def test_the_list_needs_as_many_queries_for_many_sites_as_for_few(
    staff: Client, django_assert_max_num_queries: Any
) -> None:
    MonitoredSite.objects.bulk_create(
        MonitoredSite(name=str(number), platform="uptime", credentials={"token": "made-up"})
        for number in range(90)
    )
    with django_assert_max_num_queries(12):
        html(staff, LIST)


def sync_now(staff: Client, *sites: MonitoredSite) -> str:
    data = {"action": "sync_now", "_selected_action": [str(site.pk) for site in sites]}
    return staff.post(LIST, data, follow=True).content.decode()


def test_sync_now_goes_through_qstash(
    staff: Client, add_site: AddSite, website: Website, settings: Settings
) -> None:
    settings.QSTASH_URL = website.url().rstrip("/")
    target = f"/v2/publish/{settings.APP_URL}/api/cron/sync-sites"
    website.pages[target] = http(json.dumps({"messageId": "msg_1"}))
    shown = sync_now(staff, add_site("shop"), add_site("blog"))
    assert "2 sites: on their way as QStash message msg_1." in shown
    (request,) = website.requests
    assert sorted(json.loads(request.body)["sites"]) == ["blog", "shop"]
    assert request.headers["upstash-forward-soloboard-trigger"] == "admin"
    assert request.headers["upstash-forward-soloboard-caller"] == "me"


def test_sync_now_says_so_when_qstash_is_away(staff: Client, add_site: AddSite) -> None:
    shown = sync_now(staff, add_site("shop"))
    assert "messagelist" in shown
    assert 'class="error"' in shown


def test_sync_logs_are_read_only(staff: Client) -> None:
    log = SyncLog.objects.create(status=SyncLog.Status.PARTIAL, errors={"shop": "is down"})
    change = reverse("admin:sites_synclog_change", args=[log.pk])
    assert "is down" in html(staff, change)
    assert "some sites failed" in html(staff, reverse("admin:sites_synclog_changelist"))
    assert staff.post(change, {"status": "success"}).status_code == 403
    assert staff.get(reverse("admin:sites_synclog_add")).status_code == 403
    assert staff.post(reverse("admin:sites_synclog_delete", args=[log.pk])).status_code == 403


# --- Incidents ------------------------------------------------------------------------------------

INCIDENTS = reverse("admin:sites_incident_changelist")


def test_incidents_show_site_state_duration_and_timeline_even_without_the_key_of_the_site(
    staff: Client, settings: Settings
) -> None:
    site = MonitoredSite.objects.create(
        name="Shop & more", platform="uptime", credentials={"token": SECRET}
    )
    now = timezone.now()
    row = Incident.objects.create(
        site=site, state="down", opened_at=now - timedelta(hours=3), closed_at=now
    )
    evil = "<script>alert(1)</script>"
    row.events.create(at=now, kind="opened", state="down", reason=evil)
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    listed = html(staff, INCIDENTS)
    assert "Shop &amp; more" in listed
    assert "3\xa0hours" in listed
    page = html(staff, reverse("admin:sites_incident_change", args=[row.pk]))
    assert "<b>opened</b> down &lt;script&gt;" in page
    assert evil not in page


def test_incidents_are_filtered_by_whether_they_are_open(staff: Client, add_site: AddSite) -> None:
    now = timezone.now()
    Incident.objects.create(site=add_site("ended"), state="down", opened_at=now, closed_at=now)
    Incident.objects.create(site=add_site("going"), state="down", opened_at=now)
    Incident.objects.create(site=None, state="offline", opened_at=now)
    still, over = html(staff, f"{INCIDENTS}?open=yes"), html(staff, f"{INCIDENTS}?open=no")
    assert ("going" in still, "our own network" in still, "ended" in still) == (True, True, False)
    assert ("going" in over, "ended" in over) == (False, True)


def test_incidents_are_read_only(staff: Client) -> None:
    row = Incident.objects.create(site=None, state="offline", opened_at=timezone.now())
    assert staff.get(reverse("admin:sites_incident_add")).status_code == 403
    assert staff.post(reverse("admin:sites_incident_delete", args=[row.pk])).status_code == 403
    page = reverse("admin:sites_incident_change", args=[row.pk])
    assert staff.post(page, {"state": "up"}).status_code == 403


def test_the_form_sets_how_many_failures_and_successes_an_incident_takes(
    staff: Client, add_site: AddSite
) -> None:
    site = add_site("shop", failures_to_open=4)
    assert 'name="failures_to_open" value="4"' in html(staff, page_of(site))
    data = {"name": "shop", "timezone": "UTC", "enabled": "on", "option_url": "https://a.example",
            "option_method": "GET", "option_expected_status": "200", "option_keyword_must": "appear",
            "option_slow_after_ms": "2000", "option_timeout_s": "10"}  # fmt: skip
    staff.post(page_of(site), {**data, "failures_to_open": "7", "successes_to_close": ""})
    site.refresh_from_db()
    assert (site.failures_to_open, site.successes_to_close) == (7, 2)
    answer = staff.post(page_of(site), {**data, "failures_to_open": "0"}).content.decode()
    assert "greater than or equal to 1" in answer
