"""The incidents that are open, at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, F, Window

from sites.admin.colours import KIND_OF_STATE
from sites.models import Incident, MonitoredSite

#: When more are open, the list in the admin has them all.
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class OpenIncident:
    """kind: the colour of its state."""

    incident: Incident
    kind: str


@dataclass(frozen=True, kw_only=True)
class OpenIncidents:
    """shown: that of our own network, then those that are open longest. more: left out of these."""

    shown: Sequence[OpenIncident]
    more: int


def open_incidents() -> OpenIncidents:
    """One query."""
    found = (
        Incident.objects.filter(closed_at=None)
        .select_related("site")
        .only("state", "reason", "opened_at", "site__name")
        .annotate(total=Window(Count("*")))
        .order_by(F("site").asc(nulls_first=True), "opened_at", "pk")
    )
    rows = list(found[:SHOWN])
    return OpenIncidents(
        shown=[
            OpenIncident(incident=row, kind=KIND_OF_STATE[MonitoredSite.State(row.state)])
            for row in rows
        ],
        more=rows[0].total - len(rows) if rows else 0,
    )
