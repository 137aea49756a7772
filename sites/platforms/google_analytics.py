"""Google Analytics 4: visitors, sessions and page views by day, from the Data API."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms

from sites.outbound import Client
from sites.platforms import google_token, json_api
from sites.platforms.base import (
    BadResponse,
    ConfigurationRefused,
    CredentialsRefused,
    FetchRequest,
    Figures,
    Limits,
    Metric,
    Platform,
    PlatformError,
    PlatformUnavailable,
    Snapshot,
)
from sites.platforms.google_token import ServiceAccount
from sites.platforms.json_api import Json, whole
from sites.platforms.tokens import Tokens

ORIGIN = "https://analyticsdata.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
#: What the reports of Google Analytics call Users: who was there, not whoever left an event.
#: developers.google.com/analytics/devguides/reporting/data/v1/api-schema
METRICS = ("activeUsers", "sessions", "screenPageViews")
ROWS_PER_PAGE = 10_000
MAX_PAGES = 10


class Options(forms.Form):
    """Which property to read."""

    property_id = forms.CharField(
        label="Property ID",
        max_length=40,
        help_text="The number under Admin, Property details; not the measurement ID (G-…).",
    )

    def clean_property_id(self) -> str:
        """Return the number alone, however it was copied."""
        text: str = self.cleaned_data["property_id"].removeprefix("properties/")
        if re.match(r"(G|UA|AW|GTM)-", text, re.IGNORECASE):
            raise forms.ValidationError(
                "This is the ID of a data stream or tag; the property ID is a number, "
                "under Admin, Property details."
            )
        if not re.fullmatch(r"[1-9]\d{0,19}", text, re.ASCII):
            raise forms.ValidationError("The property ID is a number, such as 123456789.")
        return text


class Credentials(forms.Form):
    """Who reads it."""

    service_account = forms.CharField(
        label="Service account key",
        max_length=10_000,
        widget=forms.PasswordInput,
        help_text="The JSON key file of a service account that is Viewer of the property. Only its "
        "e-mail address and its key are kept.",
    )

    def clean_service_account(self) -> str:
        """Keep what is needed of the file."""
        try:
            account = google_token.parse(self.cleaned_data["service_account"])
            google_token.check_private_key(account)
        except ValueError as exc:
            text = str(exc)
            raise forms.ValidationError(f"{text[0].upper()}{text[1:]}.") from exc
        return account.to_json()


class GoogleAnalytics(Platform):
    """One report with a row for each day, in the time zone of the property.

    origin, token_url: of Google; others only where something stands in for it.
    """

    key = "google_analytics"
    name = "Google Analytics 4"
    description = "Visitors, sessions and page views of a Google Analytics 4 property."
    Options = Options
    Credentials = Credentials
    # A property takes 10 requests at a time, and from one project 14,000 tokens an hour, of which
    # such a report costs less than 10 (developers.google.com/analytics/devguides/reporting/data/v1/
    # quotas): 23 a minute at most. An exhausted quota would shut out the owner's other reports.
    limits = Limits(concurrent=5, per_minute=15)
    longest_past_days = 365

    def __init__(self, origin: str = ORIGIN, token_url: str = google_token.TOKEN_URL) -> None:
        self._origin = origin
        self._token_url = token_url
        self._tokens = Tokens()

    def required_credentials(self, options: Mapping[str, Any]) -> frozenset[str]:
        """Google answers nobody without a key."""
        return frozenset({"service_account"})

    def account(self, options: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        """Return the property, whose quota it is."""
        return f"properties/{options['property_id']}"

    async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
        """Read the report of the days wanted."""
        try:
            account = google_token.parse(request.credentials["service_account"])
        except ValueError as exc:
            raise CredentialsRefused(f"the service account key cannot be read: {exc}") from exc
        token = await self._tokens.get(
            account.email,
            account.private_key,
            now=request.now,
            exchange=lambda: google_token.exchange(
                client, account, url=self._token_url, scope=SCOPE, now=request.now
            ),
        )
        try:
            report = await self._read_report(request, client, account, token.text)
        except CredentialsRefused:
            # It may have been revoked before its time.
            self._tokens.forget(account.email, account.private_key, token=token)
            raise
        return report.called.snapshot(
            request,
            report.figures(request.today),
            days=report.days(request),
            notices=tuple(report.notices(request)),
        )

    async def _read_report(
        self, request: FetchRequest, client: Client, account: ServiceAccount, token: str
    ) -> "_Report":
        """Read all pages of it (…/data/v1/rest/v1beta/properties/runReport)."""
        property_id = request.options["property_id"]
        rows: dict[date, Figures] = {}
        read = 0
        for _ in range(MAX_PAGES):
            called = await json_api.call(
                client,
                "POST",
                f"{self._origin}/v1beta/properties/{property_id}:runReport",
                headers={
                    "Authorization": f"Bearer {token}",
                    "Content-Type": "application/json",
                },
                content=json.dumps(_query(request, offset=read)).encode(),
                refusal=lambda status, data: _refusal(status, data, account.email, property_id),
            )
            with json_api.reading("Google's"):
                page = _rows(called.data)
                rows |= page
                read += len(page)
                if read >= whole(called.data.get("rowCount", 0)):
                    return _Report.of(called, rows, request.now)
                if not page:
                    raise BadResponse("Google announced more rows than it gave")
        raise PlatformUnavailable(
            f"Google's report has more than {MAX_PAGES} pages; nothing was counted, because a part "
            "of it would be wrong"
        )


def _query(request: FetchRequest, *, offset: int) -> dict[str, Any]:
    # The property's today is known to Google alone. It may be the day after the site's, so one day
    # more is asked for.
    first_day = f"{request.past_days + 1}daysAgo"
    return {
        "dateRanges": [{"startDate": first_day, "endDate": "today"}],
        "dimensions": [{"name": "date"}],
        "metrics": [{"name": name} for name in METRICS],
        "orderBys": [{"dimension": {"dimensionName": "date"}}],
        "keepEmptyRows": True,
        "limit": ROWS_PER_PAGE,
        "offset": offset,
    }


def _rows(data: Json) -> dict[date, Figures]:
    """Return the figures of each row's day; an empty report has no rows at all."""
    rows = data.get("rows", [])
    if rows and [header["name"] for header in data["metricHeaders"]] != list(METRICS):
        raise ValueError("other columns than asked for")
    return {
        datetime.strptime(row["dimensionValues"][0]["value"], "%Y%m%d").date(): _figures(  # noqa: DTZ007
            *(int(cell["value"]) for cell in row["metricValues"])
        )
        for row in rows
    }


def _figures(visitors: int, sessions: int, page_views: int) -> Figures:
    return Figures(
        visitors=visitors,
        metrics={
            "sessions": Metric(value=sessions),
            "page_views": Metric(value=page_views),
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Report:
    """What Google said of the days.

    today: the property's.
    is_whole: a day without a row is one on which nothing happened.
    """

    called: json_api.JsonAnswer
    rows: Mapping[date, Figures] = field(repr=False)
    time_zone: ZoneInfo
    today: date
    is_whole: bool

    @classmethod
    def of(
        cls, called: json_api.JsonAnswer, rows: Mapping[date, Figures], now: datetime
    ) -> "_Report":
        """Read what stands beside the rows."""
        metadata = called.data["metadata"]
        time_zone = ZoneInfo(metadata["timeZone"])
        left_out = ("subjectToThresholding", "dataLossFromOtherRow", "emptyReason")
        return cls(
            called=called,
            rows=rows,
            time_zone=time_zone,
            today=now.astimezone(time_zone).date(),
            is_whole=not any(metadata.get(name) for name in left_out),
        )

    def figures(self, day: date) -> Figures:
        """Return those of a day of the property; without any where they are not known."""
        if day in self.rows:
            return self.rows[day]
        return _figures(0, 0, 0) if self._has(day) else Figures()

    def days(self, request: FetchRequest) -> dict[date, Figures]:
        """Return the days before the site's current one, as far as they are known."""
        wanted = [request.first_day + timedelta(number) for number in range(request.past_days)]
        return {day: self.figures(day) for day in wanted if day in self.rows or self._has(day)}

    def _has(self, day: date) -> bool:
        """A day that has not begun for the property yet is not known."""
        return self.is_whole and day <= self.today

    def notices(self, request: FetchRequest) -> list[str]:
        """Say where the days are others than the site's, or not all there."""
        notices = []
        wanted = [request.first_day + timedelta(number) for number in range(request.past_days + 2)]
        if any(self._begin_of(day) != request.begin_of(day).timestamp() for day in wanted):
            notices.append(
                f"The days are those of the property's time zone, {self.time_zone}, and not of the "
                f"site's, {request.time_zone}; set both to the same."
            )
        if not self.is_whole:
            notices.append(
                "Google leaves small figures out of this report, so days without any are not known."
            )
        return notices

    def _begin_of(self, day: date) -> float:
        return datetime.combine(day, time(), self.time_zone).timestamp()


def _refusal(status: int, data: Json, email: str, property_id: str) -> PlatformError | None:
    """Put Google's error model into words (cloud.google.com/apis/design/errors)."""
    match json_api.word(data, "error", "status"):
        case "PERMISSION_DENIED" if _is_disabled(data):
            return CredentialsRefused(
                "the Google Analytics Data API is not enabled in the service account's project; "
                "enable it in the Google Cloud console under APIs & Services"
            )
        case "PERMISSION_DENIED":
            return CredentialsRefused(
                f"Google Analytics answered 403 Forbidden: the service account lacks a right; add "
                f"{email} as Viewer of property {property_id} under Admin, Property access "
                "management, or check the property ID"
            )
        case "INVALID_ARGUMENT" | "NOT_FOUND":
            return ConfigurationRefused(
                f"Google Analytics gives no report for property {property_id}; check the property ID"
            )
        case "RESOURCE_EXHAUSTED":
            return PlatformUnavailable(
                f"the quota of property {property_id} at Google Analytics is used up; it is filled "
                "up again every hour and every day"
            )
    return None


def _is_disabled(data: Json) -> bool:
    details = data["error"].get("details")
    details = details if isinstance(details, list) else []
    reasons = [json_api.word(detail, "reason") for detail in details]
    message = json_api.word(data, "error", "message")
    return "SERVICE_DISABLED" in reasons or "has not been used in project" in message
