"""A Google Analytics 4 property, the Data API that reports on it, and Google's token exchange.

As developers.google.com/analytics/devguides/reporting/data/v1 and
developers.google.com/identity/protocols/oauth2/service-account describe them.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tests.sites.loopback import Request, http
from tests.sites.platforms.fakes.vendor import Vendor

Object = dict[str, Any]
SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_LIFETIME_S = 3599
MOST_ROWS = 250_000
SCHEMES = ("http", "https")


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One session of a visitor."""

    at: datetime
    visitor: str
    page_views: int


class Refused(Exception):
    """Google answers with its error model (cloud.google.com/apis/design/errors)."""

    def __init__(self, code: int, status: str, message: str, reason: str = "") -> None:
        error: Object = {"code": code, "message": message, "status": status}
        if reason:
            info = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": info, "reason": reason, "domain": "googleapis.com"}]
        self.answer = _json({"error": error}, code)


class FakeGoogleAnalytics(Vendor):
    """One property with one service account as its viewer.

    now: its clock.
    is_disabled: the API is not enabled in the account's project.
    left_out: what Google says of rows that it withholds, as the field of `metadata`.
    token_requests: what came in for tokens; `tokens` are those given out and still good.
    """

    page_limit = MOST_ROWS

    def __init__(
        self, *, email: str, public_key: RSAPublicKey, time_zone: ZoneInfo, now: datetime
    ) -> None:
        super().__init__()
        self.property_id = "123456789"
        self.email = email
        self.public_key = public_key
        self.time_zone = time_zone
        self.now = now
        self.is_disabled = False
        self.left_out: Object = {}
        self.visits: list[Visit] = []
        self.tokens: list[str] = []
        self.token_requests: list[Request] = []

    def visit(self, at: datetime, visitor: str = "", page_views: int = 1) -> None:
        """Let somebody come; without a name somebody new."""
        name = visitor or f"visitor {len(self.visits)}"
        self.visits.append(Visit(at=at, visitor=name, page_views=page_views))

    def __call__(self, request: Request) -> bytes:
        return self.exchange(request) if request.target == "/token" else super().__call__(request)

    def exchange(self, request: Request) -> bytes:
        """Give a token for an assertion that the account's key signed."""
        self.token_requests.append(request)
        form = parse_qs(request.body.decode())
        try:
            if form["grant_type"] != [GRANT]:
                return _json({"error": "unsupported_grant_type"}, 400)
            claims = jwt.decode(
                form["assertion"][0],
                self.public_key,
                algorithms=["RS256"],
                audience=[f"{scheme}://{request.headers['host']}/token" for scheme in SCHEMES],
                issuer=self.email,
                # The clock is the test's own.
                options={"verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            return _refused_grant("Invalid JWT Signature.")
        if self.key_is_revoked:
            return _refused_grant("Invalid grant: account not found")
        now_s = self.now.timestamp()
        if claims["exp"] - claims["iat"] > 3600 or abs(claims["iat"] - now_s) > 300:
            return _refused_grant("Invalid JWT: Token must be a short-lived token.")
        assert claims["scope"] == SCOPE
        self.tokens.append(f"made-up-token-{len(self.token_requests)}")
        answer = {
            "access_token": self.tokens[-1],
            "expires_in": TOKEN_LIFETIME_S,
            "token_type": "Bearer",
        }
        return _json(answer)

    def answer(self, request: Request) -> bytes:
        try:
            self._let_in(request)
            return _json(self._report(json.loads(request.body)))
        except Refused as refused:
            return refused.answer

    def _let_in(self, request: Request) -> None:
        known = [f"Bearer {token}" for token in self.tokens]
        if request.headers.get("authorization") not in known:
            raise Refused(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if self.is_disabled:
            raise Refused(
                403,
                "PERMISSION_DENIED",
                "Google Analytics Data API has not been used in project 1 before or it is disabled.",
                "SERVICE_DISABLED",
            )
        asked = request.target.removeprefix("/v1beta/properties/").removesuffix(":runReport")
        if not asked.isdigit():
            raise Refused(400, "INVALID_ARGUMENT", "A Property ID must be numeric.")
        # A property that there is not gets the same answer as one of somebody else.
        if self.lacks_rights or asked != self.property_id:
            raise Refused(
                403,
                "PERMISSION_DENIED",
                "User does not have sufficient permissions for this property.",
            )
        if self.is_throttled:
            raise Refused(429, "RESOURCE_EXHAUSTED", "Exhausted property tokens per hour.")

    def _report(self, query: Object) -> Object:
        (span,) = query["dateRanges"]
        first, last = self._day(span["startDate"]), self._day(span["endDate"])
        limit = int(query.get("limit", 10_000))
        if first > last or not 0 < limit <= MOST_ROWS:
            raise Refused(400, "INVALID_ARGUMENT", "The dateRange or the limit is invalid.")
        assert query["dimensions"] == [{"name": "date"}]
        assert query["orderBys"] == [{"dimension": {"dimensionName": "date"}}]
        names = [metric["name"] for metric in query["metrics"]]
        by_day: defaultdict[date, list[Visit]] = defaultdict(list)
        for visit in self.visits:
            day = visit.at.astimezone(self.time_zone).date()
            if first <= day <= last and visit.at <= self.now:
                by_day[day].append(visit)
        rows = [_row(day, visits, names) for day, visits in sorted(by_day.items())]
        offset = int(query.get("offset", 0))
        page = rows[offset : offset + min(limit, self.page_limit)]
        return {
            "dimensionHeaders": [{"name": "date"}],
            "metricHeaders": [{"name": name, "type": "TYPE_INTEGER"} for name in names],
            # What is empty is left out, as everywhere in the JSON of protocol buffers.
            **({"rows": page} if page else {}),
            **({"rowCount": len(rows)} if rows else {}),
            "metadata": {"currencyCode": "USD", "timeZone": str(self.time_zone), **self.left_out},
            "kind": "analyticsData#runReport",
        }

    def _day(self, text: str) -> date:
        today = self.now.astimezone(self.time_zone).date()
        if text in ("today", "yesterday"):
            return today - timedelta(days=int(text == "yesterday"))
        if text.endswith("daysAgo"):
            return today - timedelta(days=int(text.removesuffix("daysAgo")))
        return date.fromisoformat(text)


def _row(day: date, visits: list[Visit], names: list[str]) -> Object:
    measured = {
        "activeUsers": len({visit.visitor for visit in visits}),
        "sessions": len(visits),
        "screenPageViews": sum(visit.page_views for visit in visits),
    }
    return {
        "dimensionValues": [{"value": f"{day:%Y%m%d}"}],
        "metricValues": [{"value": str(measured[name])} for name in names],
    }


def _json(body: Object, status: int = 200) -> bytes:
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    return http(json.dumps(body), status=status, headers=headers)


def _refused_grant(words: str) -> bytes:
    return _json({"error": "invalid_grant", "error_description": words}, 400)
