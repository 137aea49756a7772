from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from sites.history.latency import count
from sites.models import MonitoredSite, SiteDay

pytestmark = pytest.mark.django_db


@pytest.fixture
def site() -> MonitoredSite:
    return MonitoredSite.objects.create(
        name="<b>Shop</b>", platform="custom_json", credentials={"secret": "made-up-secret"}
    )


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    return client


def add_day(site: MonitoredSite, days_ago: int, **fields: Any) -> None:
    day = timezone.now().date() - timedelta(days=days_ago)
    SiteDay.objects.create(site=site, day=day, **fields)


def page(client: Client, site: MonitoredSite, query: str = "") -> str:
    answer = client.get(f"/sites/{site.pk}{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_charts_totals_and_a_table(staff: Client, site: MonitoredSite) -> None:
    add_day(site, 2, good=95, down=1, latency_counts=count([100] * 95), visitors=480, sales=20,
            revenue_minor={"EUR": 129_900, "JPY": 500})  # fmt: skip
    add_day(
        site, 1, good=96, latency_counts=count([100] * 96), visitors=500, sales=0, revenue_minor={}
    )
    shown = page(staff, site)
    assert shown.count("<svg viewBox") == 6
    assert "99.479 %" in shown
    assert "<dd>980</dd>" in shown
    assert "<dd>1,299.00 EUR</dd>" in shown
    assert "2 of 30 days are known" in shown
    # A day without sales earned nothing; a day that is not known has dashes.
    assert "<td>0 JPY</td>" in shown
    assert shown.count("<td>—</td>") == 28 * 8
    assert "style=" not in shown[shown.index('<div id="content-main"') :]


def test_what_is_not_measured_has_no_chart(staff: Client, site: MonitoredSite) -> None:
    add_day(site, 1, visitors=5)
    assert page(staff, site).count("<svg viewBox") == 1


def test_a_site_without_history_says_so(staff: Client, site: MonitoredSite) -> None:
    assert "Nothing is known of the last 90 days" in page(staff, site, "?days=90")


def test_what_should_be_changed_is_said(staff: Client, site: MonitoredSite) -> None:
    MonitoredSite.objects.update(last_snapshot={"notices": ["This key may do <everything>."]})
    assert "This key may do &lt;everything&gt;." in page(staff, site)


def test_ranges_beyond_those_offered_are_refused(staff: Client, site: MonitoredSite) -> None:
    for days in ("0", "31", "many"):
        assert staff.get(f"/sites/{site.pk}?days={days}").status_code == 404
    assert staff.get("/sites/0").status_code == 404


def test_text_of_other_people_is_escaped_and_no_secret_is_shown(
    staff: Client, site: MonitoredSite
) -> None:
    add_day(site, 1, visitors=5, revenue_minor={"<i>": 1})
    shown = page(staff, site)
    assert "<b>Shop" not in shown
    assert "<i>" not in shown
    assert "made-up-secret" not in shown


@pytest.mark.parametrize("days", [30, 365])
def test_the_number_of_queries_does_not_depend_on_the_days(
    days: int, staff: Client, site: MonitoredSite, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for days_ago in range(400):
        add_day(site, days_ago, visitors=days_ago, good=96, latency_counts=count([100]))
    # Session, user, the site, its days.
    with django_assert_num_queries(4):
        page(staff, site, f"?days={days}")


def test_only_staff_who_may_view_sites_see_it(site: MonitoredSite) -> None:
    client = Client()
    assert client.get(f"/sites/{site.pk}")["Location"].startswith("/admin/login/")
    user = User.objects.create_user("helper", is_staff=True)
    client.force_login(user)
    assert client.get(f"/sites/{site.pk}").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_monitoredsite"))
    assert client.get(f"/sites/{site.pk}").status_code == 200
    client.force_login(User.objects.create_user("customer"))
    assert client.get(f"/sites/{site.pk}").status_code == 302


def test_the_admin_leads_to_the_page(staff: Client, site: MonitoredSite) -> None:
    shown = staff.get(f"/admin/sites/monitoredsite/{site.pk}/change/").content.decode()
    assert f'href="/sites/{site.pk}"' in shown
