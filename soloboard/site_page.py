"""The page of a site: what it was over the last days, as charts and as a table."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import never_cache

from charts.plot import Plot, draw
from sites.admin.colours import KIND_OF_STATE
from sites.history.reading import PERCENTILES, Entry, Summary, last_days, summarise
from sites.models import MonitoredSite
from sites.platforms.money import money
from soloboard.demo_history import MADE_UP

RANGES = (30, 90, 365)
NAME_OF_PERCENTILE = {50: "median", 95: "95 % within", 99: "99 % within"}


@never_cache
def site_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the history of a site. ?days= takes one of RANGES."""
    if not admin.site.has_permission(request):
        return redirect_to_login(request.get_full_path(), "admin:login")
    if not request.user.has_perm("sites.view_monitoredsite"):
        raise PermissionDenied
    site = get_object_or_404(MonitoredSite.objects.defer("options", "credentials"), pk=pk)
    count = _range_of(request)
    entries = last_days(site, count, timezone.now())
    known = [entry.found for entry in entries if entry.found]
    summary = summarise(known)
    currencies = list(summary.revenue_minor)
    context = {
        **admin.site.each_context(request),
        "title": site.name,
        "site": site,
        "kind": KIND_OF_STATE[site.shown_state] if site.enabled else "off",
        "ranges": RANGES,
        "days": count,
        "first": entries[0].day,
        "known": len(known),
        "is_made_up": any(MADE_UP in (day.metrics or {}) for day in known),
        "figures": list(figures(summary)),
        "plots": [plot for plot in plots(entries, currencies) if plot],
        "currencies": currencies,
        "rows": [_row(entry, currencies) for entry in reversed(entries)],
    }
    return render(request, "soloboard/site.html", context)


def _range_of(request: HttpRequest) -> int:
    text = request.GET.get("days", str(RANGES[0]))
    if text not in map(str, RANGES):
        raise Http404(f"?days= takes one of {', '.join(map(str, RANGES))}.")
    return int(text)


def figures(summary: Summary) -> Iterator[tuple[str, str]]:
    """What the days come to together, each with its name."""
    if summary.uptime_percent is not None:
        yield "Uptime", _percent(summary.uptime_percent)
    for percent, latency_ms in summary.latency_ms.items():
        if latency_ms is not None:
            yield f"Latency, {NAME_OF_PERCENTILE[percent]}", _ms(latency_ms)
    if summary.visitors is not None:
        yield "Visitors", _count(summary.visitors)
    if summary.sales is not None:
        yield "Sales", _count(summary.sales)
    for currency, minor in summary.revenue_minor.items():
        yield f"Revenue, {currency}", money(minor, currency)


def plots(entries: Sequence[Entry], currencies: Sequence[str]) -> Iterator[Plot | None]:
    """The charts; None for one that has nothing to show."""
    days = [entry.day for entry in entries]
    latencies = {
        NAME_OF_PERCENTILE[percent]: [entry.latency_ms(percent) for entry in entries]
        for percent in PERCENTILES
    }
    uptimes = {"uptime": [entry.uptime_percent for entry in entries]}
    visitors = {"visitors": [entry.visitors for entry in entries]}
    sales = {"sales": [entry.sales for entry in entries]}
    yield draw("Uptime by day", days, uptimes, _percent, from_zero=False)
    yield draw("Latency by day", days, latencies, _ms, least_step=1)
    yield draw("Visitors by day", days, visitors, _count, least_step=1)
    yield draw("Sales by day", days, sales, _count, least_step=1)
    for currency in currencies:
        amounts = {"revenue": [entry.revenue_minor(currency) for entry in entries]}
        show = partial(_money, currency=currency)
        yield draw(f"Revenue by day, {currency}", days, amounts, show, least_step=1)


def _row(entry: Entry, currencies: Sequence[str]) -> tuple[Entry, list[str]]:
    """A line of the table; a dash where nothing is known."""
    cells = [
        _or_dash(entry.uptime_percent, _percent),
        *(_or_dash(entry.latency_ms(percent), _ms) for percent in PERCENTILES),
        _or_dash(entry.visitors, _count),
        _or_dash(entry.sales, _count),
        *(
            _or_dash(entry.revenue_minor(currency), partial(_money, currency=currency))
            for currency in currencies
        ),
    ]
    return entry, cells


def _or_dash(value: float | None, show: Callable[[float], str]) -> str:
    return "—" if value is None else show(value)


def _percent(value: float) -> str:
    return f"{value:.6g} %"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _money(value: float, currency: str) -> str:
    return money(round(value), currency)
