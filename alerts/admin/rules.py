"""Rules in the admin, and how often each would have fired."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString

from alerts.admin.kinds import KindAdmin
from alerts.backtesting import Backtest, backtest
from alerts.forms import KindForm, rule_form
from alerts.judging import judge, watched_sites
from alerts.models import AlertRule
from alerts.rules import RULES
from alerts.rules.base import Finding, Target, Verdict, in_words
from scheduling.admin import pill

KIND_OF_FINDING = {Finding.FIRING: "bad", Finding.CLEAR: "good", Finding.UNKNOWN: "off"}
WORD_OF_FINDING = {Finding.FIRING: "fires", Finding.CLEAR: "all well", Finding.UNKNOWN: "not known"}
DEFAULT_DAYS, MOST_DAYS = 30, 400
#: Of the sites and of the firings.
ROWS_SHOWN = 200


@admin.register(AlertRule)
class AlertRuleAdmin(KindAdmin):
    list_display = ("name", "kind_name", "about", "shown_state", "cooldown_minutes", "enabled")
    list_filter = ("enabled",)
    search_fields = ("name",)
    change_form_template = "admin/alerts/alertrule/change_form.html"
    kinds = RULES
    question = "What is worth an alert?"
    own_fields = ("name", "enabled", "site", "channels")
    more_fields = (
        ("When to tell", ("cooldown_minutes", "remind_minutes", "tells_recovery", "ignores_quiet_hours")),
    )  # fmt: skip

    def form_of(self, key: str) -> type[KindForm]:
        return rule_form(RULES[key])

    def get_fieldsets(self, request: HttpRequest, obj: AlertRule | None = None) -> Any:
        sets = super().get_fieldsets(request, obj)
        kind = RULES.get(obj.kind if obj else request.GET["kind"])
        if kind and not kind.about_sites:
            sets[0][1]["fields"].remove("site")
        return sets

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        rules: QuerySet[AlertRule] = super().get_queryset(request)
        rules = rules.select_related("site").defer("site__credentials", "site__last_snapshot")
        return rules.annotate(open_count=Count("alerts", filter=Q(alerts__closed_at=None)))

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.backtest_view)
        own = path("<int:rule_id>/backtest/", page, name="alerts_alertrule_backtest")
        return [own, *super().get_urls()]

    @admin.display(description="Kind", ordering="kind")
    def kind_name(self, rule: AlertRule) -> str:
        return rule.kind_name

    @admin.display(description="About", ordering="site")
    def about(self, rule: AlertRule) -> str:
        if rule.kind in RULES and not RULES[rule.kind].about_sites:
            return "this installation"
        return str(rule.site) if rule.site else "all sites"

    @admin.display(description="Open alerts")
    def shown_state(self, rule: Any) -> SafeString:
        if not rule.open_count:
            return pill("none", kind="good" if rule.enabled else "off")
        return pill(str(rule.open_count), kind="bad")

    def backtest_view(self, request: HttpRequest, rule_id: int) -> HttpResponse:
        """What the rule says now, and how often it would have fired."""
        rule = self.get_object(request, str(rule_id))
        if rule is None or rule.kind not in RULES:
            raise Http404("There is no such rule.")
        if not self.has_view_permission(request, rule):
            raise PermissionDenied
        days, now = _days(request.GET.get("days", "")), timezone.now()
        found = backtest(rule, now - timedelta(days=days), now)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{rule}: would have fired",
            "rule": rule,
            "days": days,
            "most_days": MOST_DAYS,
            "found": found,
            "every": in_words(found.every),
            "per_week": f"{found.per_week:.2g}",
            "firings": _firing_rows(found),
            "firings_left_out": max(0, len(found.firings) - ROWS_SHOWN),
            "verdicts": _verdict_rows(rule, judge(rule, now)),
        }
        return TemplateResponse(request, "admin/alerts/backtest.html", context)


def _days(text: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) < 5
    return min(max(int(text), 1), MOST_DAYS) if is_number else DEFAULT_DAYS


def _firing_rows(found: Backtest) -> list[dict[str, Any]]:
    newest = found.firings[::-1][:ROWS_SHOWN]
    return [{"firing": firing, "lasted": in_words(firing.duration(found.end))} for firing in newest]


def _verdict_rows(rule: AlertRule, verdicts: dict[Target, Verdict]) -> list[dict[str, Any]]:
    """What it says now, the bad before the good."""
    names = {site.pk: site.name for site in watched_sites(rule)}
    order = list(Finding)
    shown = sorted(verdicts.items(), key=lambda item: order.index(item[1].finding))
    return [
        {
            "about": target.subject if target.site_id is None else names.get(target.site_id, ""),
            "pill": pill(WORD_OF_FINDING[verdict.finding], kind=KIND_OF_FINDING[verdict.finding]),
            "reason": verdict.reason,
        }
        for target, verdict in shown[:ROWS_SHOWN]
    ]
