"""Uptime: is the site there, is it quick, does it say what it should, how long is its TLS good."""

import re
from collections.abc import Mapping
from typing import Any

from django import forms

from sites.outbound import (
    MAX_BODY_BYTES,
    Answer,
    CertificateRefused,
    Client,
    OutboundError,
    RequestRefused,
    TimedOut,
)
from sites.platforms.base import (
    ConfigurationRefused,
    FetchRequest,
    Health,
    Platform,
    PlatformUnavailable,
    Snapshot,
    UrlField,
)
from sites.platforms.json_api import status_in_words

MAX_TIMEOUT_S = 30
_STATUS_RULE = re.compile(r"(\d{3})(?:-(\d{3}))?")


class StatusRules:
    """Which HTTP statuses are expected, from text such as '200-299, 401'."""

    def __init__(self, text: str) -> None:
        self._ranges = [_status_range(part.strip()) for part in text.split(",")]

    def __contains__(self, status: int) -> bool:
        return any(status in expected for expected in self._ranges)


def _status_range(text: str) -> range:
    match = _STATUS_RULE.fullmatch(text)
    if not match:
        raise ValueError(f"'{text}' is not a status or a range of statuses; write 200 or 200-399")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 100 <= first <= last <= 599:
        raise ValueError(f"'{text}': statuses go from 100 to 599, the lower one first")
    return range(first, last + 1)


class Options(forms.Form):
    """What to request and what to expect of the answer."""

    url = UrlField(label="URL")
    method = forms.ChoiceField(
        choices=[("GET", "GET"), ("HEAD", "HEAD")],
        initial="GET",
        help_text="HEAD asks for the headers only; some sites answer it wrongly.",
    )
    expected_status = forms.CharField(
        initial="200-399",
        max_length=100,
        help_text="Statuses and ranges, separated by commas: 200-299, 401.",
    )
    follow_redirects = forms.BooleanField(
        initial=True,
        required=False,
        help_text="Up to five; the status, latency and certificate are those at the end.",
    )
    keyword = forms.CharField(
        initial="",
        required=False,
        max_length=200,
        help_text="Text of the page, upper and lower case as there. Needs GET.",
    )
    keyword_must = forms.ChoiceField(
        label="The keyword must",
        choices=[("appear", "appear"), ("be absent", "be absent")],
        initial="appear",
    )
    slow_after_ms = forms.IntegerField(
        label="Slow after (ms)",
        initial=2000,
        min_value=1,
        max_value=MAX_TIMEOUT_S * 1000,
        help_text="A latency above this counts as slow: the time for looking up the name, "
        "connecting, TLS, redirects and waiting until the headers of the answer are in.",
    )
    timeout_s = forms.IntegerField(
        label="Timeout (s)",
        initial=10,
        min_value=1,
        max_value=MAX_TIMEOUT_S,
        help_text="A site that has not answered by then is down.",
    )

    def clean_expected_status(self) -> str:
        """Refuse rules that cannot be read."""
        text: str = self.cleaned_data["expected_status"]
        try:
            StatusRules(text)
        except ValueError as exc:
            raise forms.ValidationError(str(exc)) from exc
        return text

    def clean(self) -> dict[str, Any]:
        """Refuse a keyword where there is no body to look for it."""
        if self.cleaned_data.get("keyword") and self.cleaned_data.get("method") == "HEAD":
            self.add_error("keyword", "An answer to HEAD has no body; choose GET.")
        return self.cleaned_data


class Uptime(Platform):
    """One request; a site that is down is measured, not an error."""

    key = "uptime"
    name = "Uptime"
    description = "Is the page there, is it quick, does it say what it should?"
    Options = Options

    async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
        """Request the page and judge the answer."""
        options = request.options
        try:
            answer = await client.request(
                options["method"],
                options["url"],
                follow_redirects=options["follow_redirects"],
                timeout_s=options["timeout_s"],
                max_body_bytes=MAX_BODY_BYTES if options["keyword"] else 0,
            )
        except RequestRefused as exc:
            raise ConfigurationRefused(str(exc)) from exc
        except OutboundError as exc:
            if isinstance(exc, TimedOut) and not client.left_s:
                # The site had less than the time its owner gives it: that is not its fault.
                raise PlatformUnavailable(f"{exc}; the sync had no more time for it") from exc
            return Snapshot(
                taken_at=request.now,
                health=Health.DOWN,
                reason=str(exc),
                tls_expires_at=exc.expires_at if isinstance(exc, CertificateRefused) else None,
            )
        health, reason = _judge(answer, options)
        return Snapshot(
            taken_at=request.now,
            health=health,
            reason=reason,
            latency_ms=answer.latency_ms,
            http_status=answer.status,
            tls_expires_at=answer.tls_expires_at,
        )


def _judge(answer: Answer, options: Mapping[str, Any]) -> tuple[Health, str]:
    if answer.status not in StatusRules(options["expected_status"]):
        return Health.DOWN, (
            f"answered {status_in_words(answer.status)}; expected {options['expected_status']}"
        )
    if reason := _keyword_fault(answer, options["keyword"], options["keyword_must"]):
        return Health.DOWN, reason
    if answer.latency_ms > options["slow_after_ms"]:
        return Health.SLOW, (
            f"answered after {answer.latency_ms} ms; slow after {options['slow_after_ms']} ms"
        )
    return Health.UP, ""


def _keyword_fault(answer: Answer, keyword: str, must: str) -> str:
    if not keyword or (keyword in answer.text) == (must == "appear"):
        return ""
    if must == "be absent":
        return f"the page contains '{keyword}'"
    where = f" in its first {MAX_BODY_BYTES // 1_000_000} MB" if answer.truncated else ""
    return f"the page does not contain '{keyword}'{where}"
