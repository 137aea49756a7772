import json
from datetime import UTC, date, datetime, timedelta, timezone

from sites.platforms.base import Figures, Health, Metric, Snapshot

TAKEN_AT = datetime(2026, 2, 7, 10, 30, 0, 5_999, tzinfo=UTC)


def test_snapshot_is_stored_with_units_in_its_names_and_times_in_utc() -> None:
    snapshot = Snapshot(
        taken_at=TAKEN_AT,
        health=Health.SLOW,
        reason="answered after 2100 ms; slow after 2000 ms",
        latency_ms=2100,
        http_status=200,
        tls_expires_at=TAKEN_AT + timedelta(days=20, hours=5),
        credentials_expire_at=TAKEN_AT + timedelta(days=300),
        figures=Figures(
            visitors=0,
            sales=3,
            revenue_minor={"EUR": 129900, "JPY": 1500},
            metrics={"mrr": Metric(value=4990, unit="EUR minor")},
        ),
        days={date(2026, 2, 6): Figures(visitors=7)},
    )
    assert json.loads(json.dumps(snapshot.to_json())) == {
        "updatedAt": "2026-02-07T10:30:00.005Z",
        "health": "slow",
        "reason": "answered after 2100 ms; slow after 2000 ms",
        "latency_ms": 2100,
        "http_status": 200,
        "tls_expires_at": "2026-02-27T15:30:00.005Z",
        "tls_days_left": 20,
        "credentials_expire_at": "2026-12-04T10:30:00.005Z",
        "visitors": 0,
        "sales": 3,
        "revenue_minor": {"EUR": 129900, "JPY": 1500},
        "metrics": {"mrr": {"value": 4990, "unit": "EUR minor"}},
        "days": {"2026-02-06": {"visitors": 7, "sales": None, "revenue_minor": {}, "metrics": {}}},
        "notices": [],
    }


def test_time_of_another_zone_is_stored_in_utc() -> None:
    taken_at = TAKEN_AT.astimezone(timezone(timedelta(hours=9)))
    stored = Snapshot(taken_at=taken_at, health=Health.UP).to_json()
    assert stored["updatedAt"] == "2026-02-07T10:30:00.005Z"
    assert stored["credentials_expire_at"] is None


def test_days_left_are_negative_once_a_certificate_has_ended() -> None:
    ended = Snapshot(
        taken_at=TAKEN_AT, health=Health.DOWN, tls_expires_at=TAKEN_AT - timedelta(hours=1)
    )
    assert ended.tls_days_left == -1
