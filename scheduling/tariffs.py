"""What cadences cost at Upstash, and which ones fit a plan.

The plans are those of https://upstash.com/pricing/qstash, as of May 2026.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from scheduling.cron import Cron, without_seconds
from scheduling.cron import parse as parse_cron

DAYS_PER_YEAR = 365
#: Of a plan's messages, a tenth is left for retries, continuations and runs by hand.
RESERVED_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """A plan of Upstash. messages_per_day, schedules: what it takes at the most; None is no limit."""

    key: str
    name: str
    price: str
    schedules: int
    messages_per_day: int | None = None
    usd_per_message: float = 0

    @property
    def budget(self) -> float | None:
        """The messages a day that schedules may take."""
        limit = self.messages_per_day
        return None if limit is None else limit * (1 - RESERVED_SHARE)


TARIFFS = {
    tariff.key: tariff
    for tariff in (
        Tariff(key="free", name="Free", price="$0", schedules=10, messages_per_day=1_000),
        Tariff(key="pay-as-you-go", name="Pay as you go", price="$1 for 100,000 messages",
               schedules=1_000, usd_per_message=1 / 100_000),
        Tariff(key="fixed-1m", name="Fixed 1M", price="$180 a month", schedules=10_000,
               messages_per_day=1_000_000),
        Tariff(key="fixed-10m", name="Fixed 10M", price="$420 a month", schedules=50_000,
               messages_per_day=10_000_000),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Volume:
    """The messages of a cadence, without retries and callbacks.

    runs, minute_calls: on a day on which it fires. days: on which it fires, of 365.
    """

    runs: int
    minute_calls: int
    days: int

    @property
    def per_day(self) -> int:
        return self.runs + self.minute_calls

    @property
    def per_month(self) -> float:
        return self.per_day * self.days / 12


def volume_of(expression: str) -> Volume:
    """Count the messages of a cadence; hours that a clock change adds or takes are left out.

    Raises CronError.
    """
    cron = parse_cron(expression)
    return Volume(
        runs=_minutes(cron) * len(cron.seconds),
        minute_calls=_minutes(cron) if cron.fires_within_minutes else 0,
        days=sum(map(cron.matches_day, _a_year())),
    )


def messages_per_day(expression: str) -> int:
    """The messages on a day on which it fires; the cheap part of its volume. Raises CronError."""
    cron = parse_cron(expression)
    return _minutes(cron) * (len(cron.seconds) + cron.fires_within_minutes)


def _minutes(cron: Cron) -> int:
    return len(cron.hours) * len(cron.minutes)


def _a_year() -> Iterator[date]:
    return (date(2026, 1, 1) + timedelta(days=day) for day in range(DAYS_PER_YEAR))


def share_of(tariff: Tariff, volume: Volume) -> tuple[str, bool]:
    """What a cadence takes of a plan in words, and whether the plan holds it."""
    limit = tariff.messages_per_day
    if limit is None:
        dollars = volume.per_month * tariff.usd_per_message
        return (f"${dollars:,.2f} a month" if dollars >= 0.01 else "less than $0.01 a month"), True
    if volume.per_day > limit:
        return f"{volume.per_day / limit:,.1f} times the {limit:,} a day", False
    percent = 100 * volume.per_day / limit
    shown = "less than 0.1" if 0 < percent < 0.1 else f"{percent:.3g}"
    return f"{shown}% of {limit:,} a day", True


# --- Choosing cadences ----------------------------------------------------------------------------

#: The second, minute and hour fields of ever slower cadences; None keeps the job's own.
LADDER = (
    *((f"*/{seconds}", None, None) for seconds in (10, 15, 30)),
    *((None, minutes, None) for minutes in ("*", "*/2", "*/5", "*/10", "*/15", "*/30", "0")),
    *((None, "0", hours) for hours in ("*/2", "*/3", "*/4", "*/6", "*/8", "*/12", "0")),
)


class DoesNotFit(Exception):
    """The schedules cannot be slowed so far that a plan holds them; the message gives the figures."""


def fit(tariff: Tariff, cadences: Mapping[str, str], *, others: int = 0) -> dict[str, str]:
    """Slow the most expensive cadence by one step until the plan holds all of them.

    cadences: the expressions that jobs propose, by key. others: messages a day of everything else.
    Raises DoesNotFit.
    """
    chosen = dict(cadences)
    if tariff.budget is None:
        return chosen
    while (total := others + sum(map(messages_per_day, chosen.values()))) > tariff.budget:
        slower = {key: cron for key in chosen if (cron := slowed(chosen[key]))}
        if not slower:
            raise DoesNotFit(
                f"The schedules come to {total:,} messages a day, and {tariff.name} has "
                f"{tariff.messages_per_day:,}, a tenth of them for retries. Pause or slow some by hand."
            )
        dearest = max(slower, key=lambda key: (messages_per_day(chosen[key]), key))
        chosen[dearest] = slower[dearest]
    return chosen


def slowed(expression: str) -> str | None:
    """The next slower cadence of the ladder, on the same days and, unless it fires round the clock, in
    the same hours; None when there is none.
    """
    cron = parse_cron(expression)
    fields = without_seconds(expression).split()
    if len(fields) != 5:
        return None  # @hourly and its like are cheap.
    _, hour, *days = fields
    for second, minutes, hours in LADDER:
        if hours is not None and not _is_round_the_clock(cron):
            return None
        slower = " ".join(filter(None, [second, minutes or "*", hours or hour, *days]))
        if messages_per_day(slower) < messages_per_day(expression):
            return slower
    return None


def _is_round_the_clock(cron: Cron) -> bool:
    return any(cron.hours == set(range(0, 24, step)) for step in range(1, 13))
