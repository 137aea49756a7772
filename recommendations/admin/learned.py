"""What was learned, and what it is worth, in the admin."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from charts.plot import draw
from recommendations import figures, history
from recommendations.evaluating import metric_of, users_of
from recommendations.learning import missing_to_learn
from recommendations.models import FactorVersion, ReplayFigures
from recommendations.replaying import PERSONAL, POPULAR, TRENDING
from scheduling.admin import ReadOnlyAdmin, pill
from scheduling.forms import pretty_json

KIND_OF_STATUS = {
    FactorVersion.Status.TRAINING: "info",
    FactorVersion.Status.ACTIVE: "good",
    FactorVersion.Status.REJECTED: "bad",
    FactorVersion.Status.RETIRED: "off",
}
NIGHTS_SHOWN = 180


class LearnedAdmin(ReadOnlyAdmin):
    """What nobody deletes by hand either: readers may be using it."""

    class Media:
        css = {"all": ["recommendations/admin.css"]}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(FactorVersion)
class FactorVersionAdmin(LearnedAdmin):
    list_display = (
        "number",
        "state",
        "created_at",
        "switched_at",
        "actions_used",
        "ndcg",
        "reason",
    )
    list_filter = ("status",)
    fieldsets = (
        (None, {"fields": ("state", "reason", "created_at", "switched_at")}),
        ("Replay", {"fields": ("judges", "compared", "gains", "index_recall")}),
        ("Learned from", {"fields": ("actions_used", "learned_until", "shown_weights")}),
        ("Parameters", {"fields": ("tuned_at", "shown_parameters"), "classes": ("collapse",)}),
    )
    change_list_template = "admin/recommendations/factorversion/change_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[FactorVersion]:
        # The factors are megabytes, and nothing here shows them.
        versions: QuerySet[FactorVersion] = super().get_queryset(request)
        return versions.defer("arrays")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Say above the list why there is nothing to see yet."""
        remark = missing_to_learn(history.totals())
        return super().changelist_view(request, {"remark": remark, **(extra_context or {})})

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (
            "state",
            "judges",
            "compared",
            "gains",
            "index_recall",
            "shown_weights",
            "shown_parameters",
        )

    @admin.display(description="Version", ordering="pk")
    def number(self, version: FactorVersion) -> str:
        return f"Version {version.pk}"

    @admin.display(description="State", ordering="status")
    def state(self, version: FactorVersion) -> SafeString:
        status = FactorVersion.Status(version.status)
        shown = pill(status.label, kind=KIND_OF_STATUS[status])
        if status != FactorVersion.Status.TRAINING:
            return shown
        return format_html("{} {}", shown, version.get_stage_display())

    @admin.display(description="NDCG@10")
    def ndcg(self, version: FactorVersion) -> str:
        found = [
            f"{version.figures[name]['ndcg_10']:.4f}"
            for name in ("this version", "trending")
            if name in version.figures
        ]
        return " against ".join(found) or "—"

    @admin.display(description="Users judged by")
    def judges(self, version: FactorVersion) -> str:
        return str(version.figures.get("users", "—"))

    @admin.display(description="Lists at the cut")
    def compared(self, version: FactorVersion) -> SafeString | str:
        return figures.verdict_table(version.figures)

    @admin.display(description="NDCG@10")
    def gains(self, version: FactorVersion) -> SafeString | str:
        rows = [
            (name, figures.gain_in_words(version.figures[name]))
            for name in ("gain over the last version", "gain over trending")
            if name in version.figures
        ]
        return figures.table(("", "with 95 % interval"), rows) if rows else "—"

    @admin.display(description="Found by the index")
    def index_recall(self, version: FactorVersion) -> str:
        index = version.figures.get("index")
        if index is None:
            return "—"
        found = f"{index['recall']:.1%} of the nearest, with an ef_search of {index['effort']}"
        return f"{found}; rebuilt {index['rebuilds']} times" if index["rebuilds"] else found

    @admin.display(description="Weights of actions")
    def shown_weights(self, version: FactorVersion) -> SafeString:
        return format_html("<pre>{}</pre>", pretty_json(version.action_weights))

    @admin.display(description="Chosen by replay")
    def shown_parameters(self, version: FactorVersion) -> SafeString:
        return format_html("<pre>{}</pre>", pretty_json(version.parameters))


@admin.register(ReplayFigures)
class ReplayFiguresAdmin(LearnedAdmin):
    list_display = ("created_at", "version", "judges", "personal", "trending", "popular")
    date_hierarchy = "created_at"
    fields = ("created_at", "version", "table")
    change_list_template = "admin/recommendations/replayfigures/change_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReplayFigures]:
        found: QuerySet[ReplayFigures] = super().get_queryset(request)
        return found.select_related("version").defer("version__arrays")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        nights = list(ReplayFigures.objects.order_by("-created_at")[:NIGHTS_SHOWN])[::-1]
        values = {
            method: [metric_of(night, method, "ndcg_10") for night in nights]
            for method in (PERSONAL, TRENDING, POPULAR)
        }
        plot = draw(
            "NDCG@10 of the nightly replays", [night.created_at for night in nights], values
        )
        return super().changelist_view(request, {"plot": plot, **(extra_context or {})})

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("table",)

    @admin.display(description="Users judged")
    def judges(self, night: ReplayFigures) -> int:
        return users_of(night)

    @admin.display(description="Personal")
    def personal(self, night: ReplayFigures) -> str:
        return f"{metric_of(night, PERSONAL, 'ndcg_10'):.4f}"

    @admin.display(description="Trending")
    def trending(self, night: ReplayFigures) -> str:
        return f"{metric_of(night, TRENDING, 'ndcg_10'):.4f}"

    @admin.display(description="Popular")
    def popular(self, night: ReplayFigures) -> str:
        return f"{metric_of(night, POPULAR, 'ndcg_10'):.4f}"

    @admin.display(description="By number of actions")
    def table(self, night: ReplayFigures) -> SafeString:
        return figures.replay_table(night.rows)
