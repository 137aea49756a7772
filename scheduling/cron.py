"""Cron as QStash reads it, with an optional field of seconds in front, which QStash does not know.

QStash's messages and its `CRON_TZ=` prefix are those of Go's robfig/cron v3, so this follows that
parser (github.com/robfig/cron, parser.go and spec.go): names in any case, `N/step` runs to the end
of the range, `?` means `*`, weekdays are 0 to 6, and a day matches by day of month *or* weekday
when both are restricted. A local time that a clock change skips does not fire; one that it repeats
fires twice. Six fields are read as robfig's parser reads them WithSeconds: second minute hour day
month weekday.
"""

import calendar
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cron_descriptor import CasingTypeEnum, FormatError, Options, get_description

MONTH_NAMES = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAY_NAMES = {
    name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
}
DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
#: The Gregorian calendar's leap years leave gaps of at most eight years (1896 to 1904, 2096 to
#: 2104).
SEARCH_DAYS = 366 * 8 + 2


class CronError(ValueError):
    """An expression that QStash would refuse; the message says what is allowed."""


@dataclass(frozen=True, kw_only=True)
class _Field:
    name: str
    low: int
    high: int
    names: dict[str, int]

    def parse(self, text: str) -> tuple[frozenset[int], bool]:
        """Return the matching numbers, and whether the field is open (holds a star, with no step
        above 1).
        """
        terms = text.split(",")
        numbers = frozenset(itertools.chain.from_iterable(map(self._parse_term, terms)))
        return numbers, any(term in ("*", "?", "*/1", "?/1") for term in terms)

    def _parse_term(self, term: str) -> range:
        span, slash, step_text = term.partition("/")
        low, high = self._parse_span(span, open_ended=bool(slash))
        step = self._number(step_text, term) if slash else 1
        if step < 1:
            raise self._error(term, "a step must be 1 or more")
        if low > high:
            raise self._error(term, "the start of a range lies after its end")
        return range(low, high + 1, step)

    def _parse_span(self, span: str, *, open_ended: bool) -> tuple[int, int]:
        if span in ("*", "?"):
            return self.low, self.high
        start, dash, end = span.partition("-")
        low = self._value(start, span)
        if dash:
            return low, self._value(end, span)
        return low, self.high if open_ended else low

    def _value(self, text: str, term: str) -> int:
        value = self.names.get(text.lower())
        if value is None:
            value = self._number(text, term)
        if not self.low <= value <= self.high:
            raise self._error(term, f"{value} is out of range")
        return value

    def _number(self, text: str, term: str) -> int:
        # isdecimal alone accepts digits of other scripts, which QStash does not.
        if not (text.isascii() and text.isdecimal() and len(text) <= 4):
            raise self._error(term, f"{text!r} is not a number" if text else "a number is missing")
        return int(text)

    def _error(self, term: str, reason: str) -> CronError:
        names = f" or {', '.join(self.names).upper()}" if self.names else ""
        return CronError(
            f"The {self.name} field cannot be {term!r}: {reason}. "
            f"Allowed are {self.low} to {self.high}{names}, *, lists (a,b), ranges (a-b) and steps (*/n, a-b/n)."
        )


SECOND = _Field(name="second", low=0, high=59, names={})
MINUTE = _Field(name="minute", low=0, high=59, names={})
HOUR = _Field(name="hour", low=0, high=23, names={})
DAY = _Field(name="day of month", low=1, high=31, names={})
MONTH = _Field(name="month", low=1, high=12, names=MONTH_NAMES)
WEEKDAY = _Field(name="weekday", low=0, high=6, names=WEEKDAY_NAMES)


@dataclass(frozen=True, kw_only=True)
class Cron:
    """A parsed expression. Build it with `parse`."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    @property
    def fires_within_minutes(self) -> bool:
        """Whether it fires at other seconds than 0, which a schedule of QStash cannot."""
        return self.seconds != {0}

    def fire_times(self, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
        """Yield the instants after `after` (aware) at which it fires, in UTC and in order.

        Endless, except for an expression that names no existing day, such as 30 February.
        """
        # Clock changes happen between minutes, so a minute's seconds follow one another everywhere.
        offsets = [timedelta(seconds=second) for second in sorted(self.seconds)]
        start = after.astimezone(zone)
        for day in self._days_from(start.date()):
            for minute in self._minutes(day, zone):
                if minute + offsets[-1] > after:
                    yield from (minute + offset for offset in offsets if minute + offset > after)

    def next(self, zone: ZoneInfo, after: datetime, count: int) -> list[datetime]:
        """The next `count` instants in UTC; fewer only when it never fires again."""
        return list(itertools.islice(self.fire_times(zone, after), count))

    def _days_from(self, day: date) -> Iterator[date]:
        last_match = day
        while (day - last_match).days <= SEARCH_DAYS and day.year < date.max.year:
            if self.matches_day(day):
                last_match = day
                yield day
            day += timedelta(days=1)

    def matches_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_day = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday

    def _minutes(self, day: date, zone: ZoneInfo) -> Iterable[datetime]:
        """The minutes of one local day that hold an instant, in order."""
        times = itertools.product(sorted(self.hours), sorted(self.minutes))
        local_times = (datetime.combine(day, time(hour, minute)) for hour, minute in times)
        midnight = datetime.combine(day, time(), zone)
        offset = midnight.utcoffset()
        if offset is not None and offset == (midnight + timedelta(days=1)).utcoffset():
            return ((local - offset).replace(tzinfo=UTC) for local in local_times)
        # A clock change repeats a part of this day, so its local times are not in the order of
        # their instants.
        return sorted(instant for local in local_times for instant in _instants_of(local, zone))


def parse(text: str) -> Cron:
    """Parse five fields, six with the seconds first, or a descriptor such as @hourly.

    Raises CronError with what is allowed.
    """
    fields = _expand(text).split()
    if len(fields) not in (5, 6):
        raise CronError(
            f"A schedule has five fields (minute hour day month weekday), for instance */15 * * * *, "
            f"or six with the second in front: */5 * * * * *; {text.strip()!r} has {len(fields)}."
        )
    seconds, _ = SECOND.parse(fields[0] if len(fields) == 6 else "0")
    *_, minute, hour, day, month, weekday = fields
    minutes, _ = MINUTE.parse(minute)
    hours, _ = HOUR.parse(hour)
    days, any_day = DAY.parse(day)
    months, _ = MONTH.parse(month)
    weekdays, any_weekday = WEEKDAY.parse(weekday)
    return Cron(
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=weekdays,
        any_day=any_day,
        any_weekday=any_weekday,
    )


def without_seconds(text: str) -> str:
    """The expression of the minutes in which this one fires, as QStash takes it."""
    fields = text.split()
    return " ".join(fields[1:]) if len(fields) == 6 else text


def in_words(text: str) -> str:
    """Tell a valid expression in English: `Every 15 minutes`. One that nobody writes, such as
    `* * * * *,*`, stays as it is.
    """
    options = Options()
    options.casing_type = CasingTypeEnum.Sentence
    options.use_24hour_time_format = True
    try:
        return str(get_description(_expand(text), options))
    except FormatError:
        return text


def _expand(text: str) -> str:
    text = text.strip()
    if not text.startswith("@"):
        return text
    if text not in DESCRIPTORS:
        raise CronError(f"{text!r} is not one of {', '.join(DESCRIPTORS)}.")
    return DESCRIPTORS[text]


def _instants_of(local: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """The instants at which a clock in this zone shows this time: none in a gap, two in an overlap."""
    seen = set()
    for fold in (0, 1):
        instant = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        # A time inside a gap does not survive the way back (PEP 495).
        if instant.astimezone(zone).replace(tzinfo=None) == local and instant not in seen:
            seen.add(instant)
            yield instant
