"""The history as CSV and JSON, written as it is read, so that its size does not matter."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from django.db.models import F, Func, QuerySet

from sites.history.latency import percentile
from sites.history.reading import PERCENTILES, uptime_percent
from sites.models import SiteDay, SiteHour

#: Rows that are read together.
CHUNK_SIZE = 2000
#: Spreadsheets run a cell that begins so as a formula, and names are what somebody typed.
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")

By = Literal["hour", "day"]
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be exported.

    site_ids: None for all sites.
    first, last: days, both included, None for no end: of UTC for hours, of each site for days.
    """

    by: By = "day"
    site_ids: Sequence[int] | None = None
    first: date | None = None
    last: date | None = None


def rows(wish: Wish) -> Iterator[Row]:
    """Yield the periods of one site after another, in the order of time.

    Uptime is in percent, latency in milliseconds, revenue in minor units by currency. None stands
    for what is not known; periods of which nothing is known are missing.
    """
    fields = ["attempts", "good", "down", "latency_counts", "visitors", "sales", "revenue_minor"]
    begin = "day" if wish.by == "day" else "begins_at"
    found = _periods(wish).order_by("site_id", begin)
    fields += ["site__name", "site__platform", begin]
    fields += ["metrics"] if wish.by == "day" else []
    for period in found.values(*fields).iterator(chunk_size=CHUNK_SIZE):
        yield _row(period, begin)


def as_csv(wish: Wish) -> Iterator[str]:
    """Yield the lines of a CSV file, the header first; each currency has a column of its own."""
    currencies = sorted(_currencies(wish))
    columns: list[str] = []
    for row in rows(wish):
        flat = _flat(row, currencies)
        if not columns:
            columns = list(flat)
            yield _line(columns)
        yield _line(flat.values())
    if not columns:
        yield _line(_flat(_row(_NOTHING, "day" if wish.by == "day" else "begins_at"), currencies))


def as_json(wish: Wish) -> Iterator[str]:
    """Yield the pieces of a JSON array with an object for each period."""
    separator = "[\n"
    for row in rows(wish):
        yield separator + json.dumps(row, ensure_ascii=False)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


FORMATS: Mapping[str, tuple[str, Callable[[Wish], Iterator[str]]]] = {
    "csv": ("text/csv; charset=utf-8", as_csv),
    "json": ("application/json", as_json),
}


def file_name(wish: Wish, file_format: str) -> str:
    """'soloboard-days.csv'"""
    return f"soloboard-{wish.by}s.{file_format}"


_NOTHING: Row = {"latency_counts": {}, "good": 0, "down": 0}


def _periods(wish: Wish) -> QuerySet[Any]:
    after = wish.last and wish.last + timedelta(days=1)
    bounds: dict[str, Any] = {"site__in": wish.site_ids}
    found: QuerySet[Any]
    if wish.by == "day":
        found = SiteDay.objects.all()
        bounds |= {"day__gte": wish.first, "day__lt": after}
    else:
        found = SiteHour.objects.all()
        bounds |= {"begins_at__gte": _begin(wish.first), "begins_at__lt": _begin(after)}
    return found.filter(**{name: bound for name, bound in bounds.items() if bound is not None})


def _begin(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None


def _currencies(wish: Wish) -> set[str]:
    keys = Func(F("revenue_minor"), function="jsonb_object_keys")
    found = _periods(wish).order_by().annotate(currency=keys)
    return set(found.values_list("currency", flat=True).distinct())


def _row(period: Row, begin: str) -> dict[str, Any]:
    counts = period["latency_counts"]
    moment = period.get(begin)
    return {
        "site": period.get("site__name"),
        "platform": period.get("site__platform"),
        begin: moment and moment.isoformat().replace("+00:00", "Z"),
        "attempts": period.get("attempts"),
        "good": period["good"],
        "down": period["down"],
        "uptime_percent": uptime_percent(period["good"], period["down"]),
        **{f"latency_p{percent}_ms": percentile(counts, percent) for percent in PERCENTILES},
        "visitors": period.get("visitors"),
        "sales": period.get("sales"),
        "revenue_minor": period.get("revenue_minor"),
        **({"metrics": period.get("metrics")} if begin == "day" else {}),
    }


def _flat(row: Row, currencies: Sequence[str]) -> dict[str, Any]:
    """A row whose every cell is a plain value. Where revenue is known, no entry is none of it."""
    flat = dict(row)
    revenue_minor = flat.pop("revenue_minor")
    metrics = flat.pop("metrics", None)
    for currency in currencies:
        known = revenue_minor is not None
        flat[f"revenue_minor_{currency}"] = revenue_minor.get(currency, 0) if known else None
    if "metrics" in row:
        flat["metrics"] = json.dumps(metrics, ensure_ascii=False) if metrics else None
    return flat


def _line(cells: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([_cell(cell) for cell in cells])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Numbers stay as they are; an apostrophe tells spreadsheets that a cell is text."""
    if isinstance(value, str) and value.startswith(_FORMULA_BEGINS):
        return f"'{value}"
    return value
