import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from alerts.evaluating import evaluate
from tests.alerts.conftest import NOW, AddPoint, AddRule, AddSite

pytestmark = pytest.mark.django_db


def test_staff_reads_alerts_with_their_timelines_and_changes_none(
    add_site: AddSite,
    add_rule: AddRule,
    add_point: AddPoint,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    add_rule("Down")
    for name in ("one", "two"):
        add_point(add_site(name), NOW, "down", reason="no answer")
    evaluate(NOW)
    client = APIClient()
    assert client.get("/api/alerts").status_code == 403
    client.force_login(User.objects.create_user("me", is_staff=True))
    with django_assert_num_queries(4):  # session, user, alerts, events
        found = client.get("/api/alerts").json()["results"]
    assert {alert["site"] for alert in found} == {"one", "two"}
    assert found[0]["rule"] == "Down"
    assert [event["kind"] for event in found[0]["events"]] == ["opened"]
    assert client.post("/api/alerts", {}).status_code == 405
    assert client.delete(f"/api/alerts/{found[0]['id']}").status_code == 405
