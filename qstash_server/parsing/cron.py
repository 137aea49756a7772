"""Cron expressions as QStash takes them: the standard parser of Go's robfig/cron v3.

Five fields, `CRON_TZ=` in front, descriptors such as `@hourly`. An instant fires when the fields of
its local time match: a local time that daylight saving skips does not fire, one that it repeats
fires twice. The error texts are those of robfig/cron.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from qstash_server.errors import BadRequest
from qstash_server.parsing.durations import parse_go_duration_s

MAX_LENGTH = 512
# February 29th can be eight years away (2096 to 2104); what has not come by then never will.
_SEARCH_YEARS = 9
_MINUTE_MS = 60_000
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_WEEKDAYS = "sun mon tue wed thu fri sat".split()
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, kw_only=True)
class _Bounds:
    low: int
    high: int
    names: dict[str, int]


_BOUNDS = (
    _Bounds(low=0, high=59, names={}),
    _Bounds(low=0, high=23, names={}),
    _Bounds(low=1, high=31, names={}),
    _Bounds(low=1, high=12, names={name: i for i, name in enumerate(_MONTHS, 1)}),
    _Bounds(low=0, high=6, names={name: i for i, name in enumerate(_WEEKDAYS)}),
)


@dataclass(frozen=True, kw_only=True)
class _Field:
    """The values of one field, and whether it was written as a star (it matters for days)."""

    values: frozenset[int]
    star: bool


@dataclass(frozen=True, kw_only=True)
class Every:
    """`@every 5m`: a constant distance, counted from the creation of the schedule."""

    interval_ms: int

    def next_after(self, after_ms: int) -> int | None:
        return after_ms + self.interval_ms


@dataclass(frozen=True, kw_only=True)
class Cron:
    """A parsed five-field expression in its time zone."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: _Field
    months: frozenset[int]
    weekdays: _Field
    zone: tzinfo

    def next_after(self, after_ms: int) -> int | None:
        """Return the first firing later than `after_ms` (Unix ms), None if there is none."""
        start = datetime.fromtimestamp(after_ms // 1000, self.zone).date()
        for day in self._days_from(start):
            for fire_ms in self._firings(day):
                if fire_ms > after_ms:
                    return fire_ms
        return None

    def _days_from(self, day: date) -> Iterator[date]:
        # A repeated hour may reach back over midnight, so the day before is looked at as well.
        day -= timedelta(days=1)
        last_year = min(day.year + _SEARCH_YEARS, date.max.year - 1)
        while day.year <= last_year:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if self._matches_day(day):
                yield day
            day += timedelta(days=1)

    def _matches_day(self, day: date) -> bool:
        in_days = day.day in self.days.values
        in_weekdays = day.isoweekday() % 7 in self.weekdays.values
        if self.days.star or self.weekdays.star:
            return in_days and in_weekdays
        return in_days or in_weekdays

    def _firings(self, day: date) -> Iterator[int]:
        """Yield the firings of one local day in the order in which they happen, Unix ms."""
        midnight = datetime.combine(day, time(), self.zone)
        noon_after = datetime.combine(day + timedelta(days=1), time(12), self.zone)
        if midnight.utcoffset() == noon_after.utcoffset():
            for hour in self.hours:
                for minute in self.minutes:
                    yield _unix_ms(midnight.replace(hour=hour, minute=minute))
            return
        instants = set()
        for hour in self.hours:
            for minute in self.minutes:
                for fold in (0, 1):
                    local = midnight.replace(hour=hour, minute=minute, fold=fold)
                    if _exists(local):
                        instants.add(_unix_ms(local))
        yield from sorted(instants)


def _unix_ms(local: datetime) -> int:
    return round(local.timestamp()) * 1000


def _exists(local: datetime) -> bool:
    """Whether a clock on the wall ever shows this time: the gap of spring does not."""
    back = local.astimezone(UTC).astimezone(local.tzinfo)
    return back.replace(tzinfo=None, fold=0) == local.replace(tzinfo=None, fold=0)


@lru_cache(maxsize=1024)
def parse_cron(text: str) -> Cron | Every:
    """Parse what `Upstash-Cron` holds; blanks around it do not count. Raises BadRequest."""
    try:
        return _parse(text.strip())
    except ValueError as error:
        raise BadRequest(f"Invalid cron expression {error}") from error


def _parse(spec: str) -> Cron | Every:
    if not spec:
        raise ValueError("empty spec string")
    if len(spec) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    zone: tzinfo = UTC
    if spec.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, spec = spec.partition(" ")
        zone = _zone(prefix.partition("=")[2])
        spec = spec.strip()
    if spec.startswith("@every "):
        return _parse_every(spec)
    if spec.startswith("@"):
        if spec not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {spec}")
        spec = _DESCRIPTORS[spec]
    texts = spec.split()
    if len(texts) != len(_BOUNDS):
        raise ValueError(f"expected exactly 5 fields, found {len(texts)}: [{' '.join(texts)}]")
    minutes, hours, days, months, weekdays = map(_field, texts, _BOUNDS)
    return Cron(
        minutes=tuple(sorted(minutes.values)),
        hours=tuple(sorted(hours.values)),
        days=days,
        months=months.values,
        weekdays=weekdays,
        zone=zone,
    )


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        # OSError: the name of a folder of the time zone database, such as "America".
        raise ValueError(f"provided bad location {name}: unknown time zone {name}") from error


def _parse_every(spec: str) -> Every:
    interval_s = parse_go_duration_s(spec.removeprefix("@every ").strip())
    if interval_s is None:
        raise ValueError(f"failed to parse duration {spec}")
    interval_ms = int(interval_s) * 1000
    if interval_ms < _MINUTE_MS:
        raise ValueError(f"schedules are at least one minute apart: {spec}")
    return Every(interval_ms=interval_ms)


def _field(text: str, bounds: _Bounds) -> _Field:
    values: set[int] = set()
    star = False
    ranges = [part for part in text.split(",") if part]
    if not ranges:
        raise ValueError(f"empty list: {text}")
    for part in ranges:
        part_values, part_star = _range(part, bounds)
        values.update(part_values)
        star = star or part_star
    return _Field(values=frozenset(values), star=star)


def _range(text: str, bounds: _Bounds) -> tuple[range, bool]:
    """Return the values of one list item, and whether it counts as a star."""
    span, *steps = text.split("/")
    low_text, *high_texts = span.split("-")
    star = low_text in ("*", "?")
    if len(high_texts) > 1 and not star:
        raise ValueError(f"too many hyphens: {text}")
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    if star:
        low, high = bounds.low, bounds.high
    else:
        low = high = _number(low_text, bounds.names)
        if high_texts:
            high = _number(high_texts[0], bounds.names)
        elif steps:
            high = bounds.high  # "N/step" means "N-max/step".
    step = _number(steps[0], {}) if steps else 1
    _check_range(low, high, step, text, bounds)
    # Only a bare star (or one with step 1) is a star for the rule of the days: "*/2" is not.
    return range(low, high + 1, step), star and step == 1


def _check_range(low: int, high: int, step: int, text: str, bounds: _Bounds) -> None:
    if low < bounds.low:
        raise ValueError(f"beginning of range ({low}) below minimum ({bounds.low}): {text}")
    if high > bounds.high:
        raise ValueError(f"end of range ({high}) above maximum ({bounds.high}): {text}")
    if low > high:
        raise ValueError(f"beginning of range ({low}) beyond end of range ({high}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"failed to parse int from {text}: invalid syntax")
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number
