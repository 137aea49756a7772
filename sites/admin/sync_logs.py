"""The log of the syncs in the admin."""

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from scheduling.admin import RecordAdmin, pill
from sites.admin.colours import KIND_OF_STATUS
from sites.models import SyncLog


@admin.register(SyncLog)
class SyncLogAdmin(RecordAdmin):
    list_display = (
        "created_at", "shown_status", "sites_total", "sites_synced", "sites_failed", "sites_carried_over",
        "duration",
    )  # fmt: skip
    list_filter = ("status", "created_at")
    date_hierarchy = "created_at"
    fields = (*list_display, "run", "shown_errors")

    @admin.display(description="Status", ordering="status")
    def shown_status(self, log: SyncLog) -> SafeString:
        status = SyncLog.Status(log.status)
        return pill(status.label, kind=KIND_OF_STATUS[status])

    @admin.display(description="Errors")
    def shown_errors(self, log: SyncLog) -> SafeString | str:
        return format_html_join(SafeString("<br>"), "<b>{}</b>: {}", log.errors.items()) or "—"
