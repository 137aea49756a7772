import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings
from pytest_django.fixtures import DjangoAssertNumQueries
from rest_framework.test import APIClient

from sites.models import Incident, MonitoredSite, SyncLog
from tests.sites.conftest import AddSite, RunSync
from tests.sites.loopback import http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

SECRET = "made-up-secret"
FIGURES = {
    "name": "Figures",
    "platform": "custom_json",
    "options": {
        "url": "https://example.com/figures", "auth": "bearer", "figures": "visitors = v",
    },
    "credentials": {"secret": SECRET},
}  # fmt: skip


@pytest.fixture
def staff() -> APIClient:
    client = APIClient()
    client.force_authenticate(User.objects.create_user("me", is_staff=True))
    return client


def add_figures(staff: APIClient, **changes: Any) -> dict[str, Any]:
    answer = staff.post("/api/sites", {**FIGURES, **changes})
    assert answer.status_code == 201, answer.content
    body: dict[str, Any] = answer.json()
    return body


def refused_fields(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 400, answer.content
    fields: dict[str, Any] = answer.json()["fields"]
    return fields


@pytest.mark.parametrize(
    "address", ["/api/sites", "/api/sites/1", "/api/sync-logs", "/api/incidents"]
)
def test_only_staff_may_look(address: str) -> None:
    client = APIClient()
    assert client.get(address).status_code in (401, 403)
    client.force_authenticate(User.objects.create_user("visitor"))
    assert client.get(address).status_code == 403


def test_a_site_takes_the_defaults_of_its_platform(staff: APIClient) -> None:
    site = staff.post(
        "/api/sites",
        {"name": "Shop", "platform": "uptime", "options": {"url": "shop.example"}},
    ).json()
    assert site["options"]["url"] == "https://shop.example"
    assert site["options"]["expected_status"] == "200-399"
    assert (site["state"], site["enabled"], site["timezone"]) == ("new", True, "UTC")


def test_credentials_are_named_and_never_answered(staff: APIClient) -> None:
    site = add_figures(staff)
    address = f"/api/sites/{site['id']}"
    answers = [
        staff.get("/api/sites"),
        staff.get(address),
        staff.patch(address, {"credentials": {"username": "made-up-user"}}),
        staff.put(address, {**FIGURES, "name": "Numbers"}),
        staff.patch(address, {"credentials": {"secret": ["made-up-list"]}}),
        staff.patch(address, {"credentials": {"made-up": "made-up-value"}}),
        staff.options(address),
        staff.get(address, headers={"Accept": "text/html"}),
        staff.delete(address),
    ]
    assert [answer.status_code for answer in answers[:6]] == [200, 200, 200, 200, 400, 400]
    assert answers[2].json()["credential_names"] == ["secret", "username"]
    text = "".join(answer.content.decode() for answer in answers)
    for value in (SECRET, "made-up-user", "made-up-list", "made-up-value"):
        assert value not in text


def test_patch_keeps_what_it_does_not_mention(staff: APIClient) -> None:
    site = add_figures(staff, timezone="Europe/Vienna", enabled=False)
    address = f"/api/sites/{site['id']}"
    options = {**site["options"], "figures": "sales = s"}
    changed = staff.patch(address, {"options": {"figures": "sales = s"}}).json()
    assert {**changed, "options": None} == {**site, "options": None}
    assert changed["options"] == options
    assert staff.patch(address, {"name": "Numbers"}).json() == {**changed, "name": "Numbers"}
    assert MonitoredSite.objects.get().credentials == {"secret": SECRET}


def test_put_takes_the_defaults_again_and_keeps_the_credentials(staff: APIClient) -> None:
    site = staff.post(
        "/api/sites",
        {"name": "Shop", "platform": "uptime", "options": {"url": "a.example", "timeout_s": 3}},
    ).json()
    put = {"name": "Shop", "platform": "uptime", "options": {"url": "a.example"}}
    answer = staff.put(f"/api/sites/{site['id']}", put).json()
    assert answer["options"]["timeout_s"] == 10


@pytest.mark.parametrize(
    ("change", "field", "name"),
    [
        ({"options": {"uri": "x"}}, "options", "uri"),
        ({"options": {"url": "ftp://a"}}, "options", "url"),
        ({"options": {"auth": "header"}}, "options", "auth_name"),
        ({"credentials": {"token": "x"}}, "credentials", "token"),
    ],
)
def test_a_fault_stands_at_the_name_it_is_about(
    staff: APIClient, change: dict[str, Any], field: str, name: str
) -> None:
    site = add_figures(staff)
    fields = refused_fields(staff.patch(f"/api/sites/{site['id']}", change))
    assert list(fields) == [field]
    assert list(fields[field]) == [name]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"platform": "gone"}, "platform"),
        ({"platform": "uptime"}, "platform"),
        ({"timezone": "Mars/Phobos"}, "timezone"),
        ({"name": ""}, "name"),
        ({"name": "nul \0"}, "name"),
        ({"options": "url"}, "options"),
        ({"credentials": "secret"}, "credentials"),
        ({"enabled": "perhaps"}, "enabled"),
    ],
)
def test_a_field_that_is_wrong_is_named(
    staff: APIClient, change: dict[str, Any], field: str
) -> None:
    site = add_figures(staff)
    assert list(refused_fields(staff.patch(f"/api/sites/{site['id']}", change))) == [field]


def test_a_name_that_is_taken_and_a_credential_that_is_missing_are_refused(
    staff: APIClient,
) -> None:
    add_figures(staff)
    assert list(refused_fields(staff.post("/api/sites", FIGURES))) == ["name"]
    missing = refused_fields(staff.post("/api/sites", {**FIGURES, "name": "B", "credentials": {}}))
    assert missing == {"credentials": {"secret": ["These options need this credential."]}}


def test_what_a_sync_writes_cannot_be_written_here(staff: APIClient) -> None:
    site = add_figures(staff)
    written = {"last_snapshot": {"a": 1}, "failures": 9, "state_reason": "x", "state": "down"}
    answer = staff.patch(f"/api/sites/{site['id']}", written).json()
    assert answer == site


def test_an_edit_does_not_undo_what_a_sync_wrote_and_makes_the_site_due(
    staff: APIClient, add_site: AddSite, website: Website, run_sync: RunSync
) -> None:
    site = add_site("shop")
    website.pages["/shop"] = http(status=500)
    run_sync()
    answer = staff.patch(f"/api/sites/{site.pk}", {"timezone": "Asia/Tokyo"}).json()
    assert (answer["timezone"], answer["state"]) == ("Asia/Tokyo", "down")
    assert answer["not_before"] is None
    site.refresh_from_db()
    assert (site.failures, site.snapshots.count()) == (1, 1)


def test_a_site_whose_platform_has_gone_is_listed_and_can_be_deleted(staff: APIClient) -> None:
    site = MonitoredSite.objects.create(name="Old", platform="gone")
    assert staff.get("/api/sites").json()["results"][0]["platform"] == "gone"
    fields = refused_fields(staff.patch(f"/api/sites/{site.pk}", {"enabled": False}))
    assert "No platform 'gone' any more" in fields["platform"][0]
    assert staff.delete(f"/api/sites/{site.pk}").status_code == 204


def test_a_site_whose_key_is_missing_hides_no_other_and_can_be_mended(
    staff: APIClient, settings: Settings
) -> None:
    site = add_figures(staff)
    address = f"/api/sites/{site['id']}"
    keys = settings.SOLOBOARD_SECRET_KEYS
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    assert staff.get("/api/sites").json()["results"][0]["credential_names"] is None
    disabled = staff.patch(address, {"options": {"auth": "none"}, "enabled": False})
    assert disabled.status_code == 200
    settings.SOLOBOARD_SECRET_KEYS = keys
    assert MonitoredSite.objects.get().credentials == {"secret": SECRET}
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    mended = staff.patch(address, {"options": {"auth": "bearer"}, "credentials": {"secret": "new"}})
    assert mended.json()["credential_names"] == ["secret"]


def test_the_list_needs_as_many_queries_for_many_sites_as_for_few(
    staff: APIClient, django_assert_num_queries: Any
) -> None:
    MonitoredSite.objects.bulk_create(
        MonitoredSite(name=str(number), platform="uptime", credentials={"token": "made-up"})
        for number in range(40)
    )
    with django_assert_num_queries(1):
        assert len(staff.get("/api/sites").json()["results"]) == 40


def test_sync_asks_qstash_for_this_site(
    staff: APIClient, add_site: AddSite, website: Website, settings: Settings
) -> None:
    site = add_site("shop")
    settings.QSTASH_URL = website.url().rstrip("/")
    target = f"/v2/publish/{settings.APP_URL}/api/cron/sync-sites"
    website.pages[target] = http(json.dumps({"messageId": "msg_1"}))
    answer = staff.post(f"/api/sites/{site.pk}/sync")
    assert (answer.status_code, answer.json()) == (202, {"message_id": "msg_1"})
    assert json.loads(website.requests[0].body) == {"sites": ["shop"]}


def test_sync_answers_502_when_qstash_is_away(staff: APIClient, add_site: AddSite) -> None:
    answer = staff.post(f"/api/sites/{add_site('shop').pk}/sync")
    assert answer.status_code == 502
    assert answer.json()["error"]


def test_sync_logs_are_listed_newest_first_and_read_only(staff: APIClient) -> None:
    now = timezone.now()
    old = SyncLog.objects.create(created_at=now.replace(year=now.year - 1))
    new = SyncLog.objects.create(errors={"shop": "is down"}, sites_failed=1)
    listed = staff.get("/api/sync-logs").json()["results"]
    assert [log["id"] for log in listed] == [new.pk, old.pk]
    assert listed[0]["errors"] == {"shop": "is down"}
    assert staff.post("/api/sync-logs", {}).status_code == 405
    assert staff.delete(f"/api/sync-logs/{new.pk}").status_code == 405


# --- Incidents ------------------------------------------------------------------------------------


def incident(site: MonitoredSite | None, minute: int, **fields: Any) -> Incident:
    opened_at = datetime(2026, 3, 4, 12, minute, tzinfo=UTC)
    return Incident.objects.create(site=site, state="down", opened_at=opened_at, **fields)


def test_incidents_are_listed_newest_first_with_duration_and_timeline(
    staff: APIClient, add_site: AddSite
) -> None:
    site = add_site("shop")
    old = incident(site, 0, closed_at=datetime(2026, 3, 4, 12, 45, tzinfo=UTC), reason="gone")
    new = incident(None, 50)
    old.events.create(at=old.opened_at, kind="opened", state="down", reason="gone")
    first, second = staff.get("/api/incidents").json()["results"]
    assert (first["id"], first["site"], first["site_name"]) == (new.pk, None, None)
    assert first["duration_s"] > 0
    assert second == {
        "id": old.pk,
        "site": site.pk,
        "site_name": "shop",
        "state": "down",
        "reason": "gone",
        "opened_at": "2026-03-04T12:00:00Z",
        "closed_at": "2026-03-04T12:45:00Z",
        "duration_s": 2700.0,
        "events": [
            {"at": "2026-03-04T12:00:00Z", "kind": "opened", "state": "down", "reason": "gone"}
        ],
    }
    assert staff.get(f"/api/incidents/{old.pk}").json() == second


def test_incidents_are_asked_for_by_site_and_by_whether_they_are_open(
    staff: APIClient, add_site: AddSite
) -> None:
    shop, blog = add_site("shop"), add_site("blog")
    ended = incident(shop, 0, closed_at=timezone.now())
    going, other = incident(shop, 1), incident(blog, 2)

    def ids(query: str) -> list[int]:
        return [row["id"] for row in staff.get(f"/api/incidents?{query}").json()["results"]]

    assert ids("open=true") == [other.pk, going.pk]
    assert ids("open=false") == [ended.pk]
    assert ids(f"site={shop.pk}") == [going.pk, ended.pk]
    assert ids(f"site={shop.pk}&open=true") == [going.pk]
    assert "open" in refused_fields(staff.get("/api/incidents?open=perhaps"))
    assert "site" in refused_fields(staff.get("/api/incidents?site=shop"))


def test_incidents_are_read_only(staff: APIClient, add_site: AddSite) -> None:
    address = f"/api/incidents/{incident(add_site('shop'), 0).pk}"
    answers = [staff.post("/api/incidents", {}), staff.patch(address, {}), staff.delete(address)]
    assert [answer.status_code for answer in answers] == [405] * 3


def test_the_number_of_queries_does_not_grow_with_the_incidents_nor_with_a_missing_key(
    staff: APIClient, settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        site = MonitoredSite.objects.create(
            name=str(number), platform="uptime", credentials={"token": "made-up"}
        )
        incident(site, number).events.create(at=timezone.now(), kind="opened", state="down")
    settings.SOLOBOARD_SECRET_KEYS = ["another-made-up-key-" * 2]
    with django_assert_num_queries(2):
        assert len(staff.get("/api/incidents").json()["results"]) == 30


def test_how_many_failures_and_successes_it_takes_is_set_for_each_site(staff: APIClient) -> None:
    site = add_figures(staff, failures_to_open=3)
    assert (site["failures_to_open"], site["successes_to_close"]) == (3, 2)
    address = f"/api/sites/{site['id']}"
    assert staff.patch(address, {"successes_to_close": 5}).json()["successes_to_close"] == 5
    assert MonitoredSite.objects.get().failures_to_open == 3
    for value in (0, 101, "many"):
        assert "failures_to_open" in refused_fields(
            staff.patch(address, {"failures_to_open": value})
        )
