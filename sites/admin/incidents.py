"""Incidents in the admin: what the product itself writes, to be looked at."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from scheduling.admin import RecordAdmin, pill
from sites.admin.colours import KIND_OF_STATE
from sites.models import Incident, MonitoredSite


class OpenFilter(admin.SimpleListFilter):
    title = "progress"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("yes", "open"), ("no", "closed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Incident]) -> QuerySet[Incident]:
        if self.value() is None:
            return queryset
        return queryset.filter(closed_at__isnull=self.value() == "yes")


@admin.register(Incident)
class IncidentAdmin(RecordAdmin):
    list_display = ("shown_site", "shown_state", "opened_at", "closed_at", "duration")
    list_filter = (OpenFilter, "state")
    search_fields = ("site__name",)
    date_hierarchy = "opened_at"
    fields = (*list_display, "reason", "timeline")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Incident]:
        # A site whose key is missing must not hide the incidents of all the others.
        site = ("site__credentials", "site__options", "site__last_snapshot")
        return super().get_queryset(request).select_related("site").defer(*site)

    @admin.display(description="Site", ordering="site__name")
    def shown_site(self, incident: Incident) -> str:
        return incident.site.name if incident.site else "our own network"

    @admin.display(description="State", ordering="state")
    def shown_state(self, incident: Incident) -> SafeString:
        state = MonitoredSite.State(incident.state)
        return pill(state.label, kind=KIND_OF_STATE[state])

    @admin.display(description="Duration")
    def duration(self, incident: Incident) -> str:
        so_far = "" if incident.closed_at else " so far"
        return f"{timesince(incident.opened_at, incident.closed_at)}{so_far}"

    @admin.display(description="Timeline")
    def timeline(self, incident: Incident) -> SafeString:
        rows = (
            (f"{event.at:%d %b %H:%M:%S}", event.get_kind_display(), event.get_state_display(), event.reason)
            for event in incident.events.all()
        )  # fmt: skip
        return format_html_join(SafeString("<br>"), "{} <b>{}</b> {} {}", rows)
