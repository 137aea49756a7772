"""A TLS certificate or a credential ends soon."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.db.models.fields.json import KT
from django.utils.dateparse import parse_datetime

from alerts.rules.base import RuleKind, Target, Verdict, clear, firing, in_words, unknown
from alerts.rules.points import Points, by_site, points_of
from sites.models import MonitoredSite

TLS, CREDENTIALS = "tls", "credentials"
NAMES = {TLS: "The TLS certificate", CREDENTIALS: "The credential"}
#: A site that has not been measured for so long says nothing about its certificate of today.
KNOWN_FOR = timedelta(days=2)


class Options(forms.Form):
    days = forms.IntegerField(
        label="Days before", initial=14, min_value=1, max_value=365, help_text="Or already over."
    )
    what = forms.ChoiceField(
        choices=[
            ("both", "certificates and credentials"),
            (TLS, "TLS certificates"),
            (CREDENTIALS, "credentials"),
        ],
        initial="both",
        help_text="A platform tells when its credentials end only if it knows.",
    )


@dataclass(frozen=True)
class Ends:
    """When they end; None where it is not known."""

    tls: datetime | None
    credentials: datetime | None


class Expiry(RuleKind[Points[Ends]]):
    """Looks at the newest point that has data."""

    key = "expiry"
    name = "About to expire"
    description = "A TLS certificate or a credential ends within some days."
    Options = Options
    resolution = timedelta(hours=1)

    def lookback(self, options: Mapping[str, Any]) -> timedelta:
        return KNOWN_FOR

    def read(
        self,
        options: Mapping[str, Any],
        sites: Sequence[MonitoredSite],
        begin: datetime,
        end: datetime,
    ) -> Mapping[Target, Points[Ends]]:
        found = points_of(sites, begin, end).exclude(data=None)
        found = found.annotate(
            tls=KT("data__tls_expires_at"), credentials=KT("data__credentials_expire_at")
        )
        rows = found.values_list("site_id", "taken_at", "tls", "credentials")
        return by_site(sites, rows, lambda row: Ends(_moment(row[0]), _moment(row[1])))

    def judge(self, options: Mapping[str, Any], evidence: Points[Ends], now: datetime) -> Verdict:
        count = evidence.count_until(now)
        if not count or now - evidence.times[count - 1] > KNOWN_FOR:
            return unknown(f"It was not measured within {in_words(KNOWN_FOR)}.")
        ends = evidence.values[count - 1]
        asked = (TLS, CREDENTIALS) if options["what"] == "both" else (options["what"],)
        known = [(end, NAMES[what]) for what in asked if (end := getattr(ends, what))]
        if not known:
            return unknown("Nothing that ends is known of it.")
        end, name = min(known)
        words = f"{name} {_when(end, now)} ({end:%d %b %Y %H:%M} UTC)."
        is_near = end - now <= timedelta(days=options["days"])
        return firing(words) if is_near else clear(words)


def _moment(text: str | None) -> datetime | None:
    return parse_datetime(text) if text else None


def _when(end: datetime, now: datetime) -> str:
    return f"ended {in_words(now - end)} ago" if end <= now else f"ends in {in_words(end - now)}"
