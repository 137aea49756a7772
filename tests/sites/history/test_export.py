import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django.fixtures import DjangoAssertNumQueries
from rest_framework.test import APIClient

from sites.history.export import Wish, as_csv, as_json
from sites.history.latency import count
from sites.models import MonitoredSite, SiteDay, SiteHour
from tests.sites.history.points import at, shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def site() -> MonitoredSite:
    site = shop(credentials={"secret": "made-up-secret"})
    SiteDay.objects.create(
        site=site, day="2026-03-04", attempts=96, good=95, down=1, latency_counts=count([100] * 95),
        visitors=480, sales=0, revenue_minor={"EUR": 1299}, metrics={"mrr": {"value": 5, "unit": ""}},
    )  # fmt: skip
    SiteDay.objects.create(site=site, day="2026-03-06", visitors=7, revenue_minor={"JPY": 500})
    SiteDay.objects.create(site=site, day="2026-03-07", visitors=8)
    return site


def table(**wish: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(as_csv(Wish(**wish))))))


def test_csv_has_a_line_for_each_day_and_a_column_for_each_currency(site: MonitoredSite) -> None:
    first, second, third = table()
    assert first == {
        "site": "shop", "platform": "custom_json", "day": "2026-03-04", "attempts": "96",
        "good": "95", "down": "1", "uptime_percent": "98.958", "latency_p50_ms": "105",
        "latency_p95_ms": "105", "latency_p99_ms": "105", "visitors": "480", "sales": "0",
        "revenue_minor_EUR": "1299", "revenue_minor_JPY": "0",
        "metrics": '{"mrr": {"unit": "", "value": 5}}',
    }  # fmt: skip
    assert (second["revenue_minor_EUR"], second["revenue_minor_JPY"]) == ("0", "500")
    assert (second["uptime_percent"], second["sales"]) == ("", "")
    assert third["revenue_minor_EUR"] == ""


def test_json_is_one_array_of_the_same(site: MonitoredSite) -> None:
    first, second, third = json.loads("".join(as_json(Wish())))
    assert (first["day"], first["visitors"], first["latency_p95_ms"]) == ("2026-03-04", 480, 105)
    assert first["revenue_minor"] == {"EUR": 1299}
    assert second["sales"] is None
    assert third["revenue_minor"] is None


def test_hours_are_exported_with_their_beginning_in_utc(site: MonitoredSite) -> None:
    for text in ("2026-03-03 23:00", "2026-03-04 00:00", "2026-03-04 23:00", "2026-03-05 00:00"):
        SiteHour.objects.create(site=site, begins_at=at(text), good=4)
    days = {"first": at("2026-03-04 00:00").date(), "last": at("2026-03-04 00:00").date()}
    assert [row["begins_at"] for row in table(by="hour", **days)] == [
        "2026-03-04T00:00:00Z",
        "2026-03-04T23:00:00Z",
    ]


def test_nothing_is_a_header_and_an_empty_array() -> None:
    (header,) = as_csv(Wish())
    assert header.startswith("site,platform,day,attempts,good,down,uptime_percent,latency_p50_ms")
    assert json.loads("".join(as_json(Wish(by="hour")))) == []


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1"])
def test_a_name_is_never_a_formula(name: str) -> None:
    site = shop(name=name)
    SiteDay.objects.create(site=site, day="2026-03-04", revenue_minor={"EUR": -5})
    (row,) = table()
    assert row["site"] == f"'{name}"
    assert row["revenue_minor_EUR"] == "-5"
    (entry,) = json.loads("".join(as_json(Wish())))
    assert entry["site"] == name


def test_a_large_history_is_read_in_pieces(
    site: MonitoredSite, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        lines = as_json(Wish())
        next(lines)
        next(lines)


def test_the_command_writes_a_file(site: MonitoredSite, tmp_path: Path) -> None:
    other = shop(name="other")
    SiteDay.objects.create(site=other, day="2026-03-04")
    file = tmp_path / "days.csv"
    call_command(
        "export_history", "shop", "--from=2026-03-05", "--to=2026-03-06", f"--output={file}"
    )
    (row,) = csv.DictReader(io.StringIO(file.read_text()))
    assert (row["site"], row["day"]) == ("shop", "2026-03-06")


def test_the_command_writes_to_standard_output(site: MonitoredSite) -> None:
    out = io.StringIO()
    call_command("export_history", "--format=json", stdout=out)
    assert len(json.loads(out.getvalue())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "There is no site named 'none'"),
        (["--from=soon"], "is not a day"),
        (["--output=/nowhere/file.csv"], "cannot be written"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("export_history", *arguments, stdout=io.StringIO())


# --- Download -------------------------------------------------------------------------------------


@pytest.fixture
def staff() -> APIClient:
    client = APIClient()
    client.force_authenticate(User.objects.create_user("me", is_staff=True))
    return client


def body(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


def test_staff_download_the_history_as_a_file(staff: APIClient, site: MonitoredSite) -> None:
    answer = staff.get(f"/api/history?site={site.pk}&from=2026-03-06")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="soloboard-days.csv"'
    assert [row["day"] for row in csv.DictReader(io.StringIO(body(answer)))] == [
        "2026-03-06",
        "2026-03-07",
    ]
    answer = staff.get("/api/history?as=json&by=hour")
    assert (answer["Content-Type"], json.loads(body(answer))) == ("application/json", [])


def test_only_staff_may_download() -> None:
    client = APIClient()
    assert client.get("/api/history").status_code in (401, 403)
    client.force_authenticate(User.objects.create_user("visitor"))
    assert client.get("/api/history").status_code == 403


@pytest.mark.parametrize(
    ("query", "field"),
    [("by=year", "by"), ("from=soon", "from"), ("as=xml", "as"), ("site=a", "site")],
)
def test_a_wish_that_cannot_be_read_is_refused(query: str, field: str, staff: APIClient) -> None:
    answer = staff.get(f"/api/history?{query}")
    assert answer.status_code == 400
    assert field in answer.json()["fields"]


def test_no_credential_is_in_any_export(staff: APIClient, site: MonitoredSite) -> None:
    for query in ("as=csv", "as=json", "by=hour&as=json"):
        assert "made-up-secret" not in body(staff.get(f"/api/history?{query}"))
