"""Trying a connection: one real fetch with what was entered, of which nothing is stored."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sites.attempts import Attempt
from sites.fetching import Fetcher
from sites.models import MonitoredSite
from sites.platforms.base import PAST_DAYS
from sites.platforms.money import money, with_unit

logger = logging.getLogger(__name__)

State = MonitoredSite.State

#: Somebody waits for it.
TRIAL_LIMIT_S = 20.0

VERDICTS: Mapping[State, str] = {
    State.UP: "The connection works.",
    State.SLOW: "The connection works, but the site is slow.",
    State.DOWN: "The site was reached, and counts as down.",
    State.CREDENTIALS_REFUSED: "The credentials are refused.",
    State.MISCONFIGURED: "It does not work with these settings.",
    State.UNAVAILABLE: "There was no answer that can be used; it may be there later.",
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial came to, in words for whoever entered the settings.

    reason: a sentence on why it is not all well; '' when it is.
    notices: what works but should be changed.
    findings: labels and values of what was found.
    """

    state: State
    reason: str = ""
    notices: Sequence[str] = ()
    findings: Sequence[tuple[str, str]] = ()

    @property
    def verdict(self) -> str:
        """One sentence on the state."""
        return VERDICTS[self.state]


def try_connection(site: MonitoredSite, *, caller: str) -> Trial:
    """Fetch a site as it stands in memory, stored or not, under the protection of any other fetch.

    caller: who asked for it, for the log.
    """
    # A fetcher gives one fetch half of the time that it has.
    with Fetcher([site], deadline=time.monotonic() + 2 * TRIAL_LIMIT_S) as fetcher:
        (attempt,) = fetcher
    logger.info(
        "%s tried the connection of site %s (%s): %s",
        caller, site.pk or "to be added", site.platform, attempt.state,
    )  # fmt: skip
    return _in_words(attempt)


def _in_words(attempt: Attempt) -> Trial:
    snapshot = json.loads(attempt.snapshot) if attempt.snapshot else {}
    return Trial(
        state=attempt.state,
        reason=_sentence(attempt.reason),
        notices=snapshot.get("notices", []),
        findings=[*_findings(snapshot), *_past(json.loads(attempt.days))] if snapshot else [],
    )


def _sentence(reason: str) -> str:
    return reason and f"{reason[0].upper()}{reason[1:].rstrip('.')}."


def _findings(snapshot: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if snapshot["latency_ms"] is not None:
        yield "Latency", f"{snapshot['latency_ms']:,} ms"
    if snapshot["tls_days_left"] is not None:
        yield "Days until the certificate ends", f"{snapshot['tls_days_left']:,}"
    if snapshot["credentials_expire_at"]:
        yield "The credentials end", snapshot["credentials_expire_at"]
    yield from _figures(snapshot)


def _past(days: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The last few days; a site that has still to fetch its past brings more."""
    for day in days[-PAST_DAYS:]:
        yield day["day"], ", ".join(f"{value} ({label})" for label, value in _figures(day))


def _figures(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("visitors", "sales"):
        if figures[name] is not None:
            yield name.capitalize(), f"{figures[name]:,}"
    for currency, minor in (figures["revenue_minor"] or {}).items():
        yield f"Revenue, {currency}", money(minor, currency)
    for name, metric in (figures["metrics"] or {}).items():
        yield name.replace("_", " ").capitalize(), with_unit(**metric)
