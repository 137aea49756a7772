"""Alerts with their timelines, and the messages about them."""

import logging

from django.contrib import admin, messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from alerts.delivering import publish_due, send_again
from alerts.models import Alert, AlertEvent, Delivery
from alerts.rules.base import in_words
from scheduling.admin import RecordAdmin, pill
from scheduling.qstash import QStashProblem

logger = logging.getLogger(__name__)

KIND_OF_STATUS = {
    Delivery.Status.WAITING: "info",
    Delivery.Status.SENDING: "info",
    Delivery.Status.SENT: "good",
    Delivery.Status.FAILED: "bad",
}
KIND_OF_EVENT = {
    AlertEvent.Kind.OPENED: "bad",
    AlertEvent.Kind.REMINDED: "warn",
    AlertEvent.Kind.RECOVERED: "good",
    AlertEvent.Kind.DROPPED: "off",
}


class OpenFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("open", "Open"), ("over", "Over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        if self.value() is None:
            return queryset
        return queryset.filter(closed_at__isnull=self.value() == "open")


@admin.register(Alert)
class AlertAdmin(RecordAdmin):
    list_display = ("about", "rule", "state", "opened_at", "lasted", "reason")
    list_filter = (OpenFilter, "rule", "opened_at")
    search_fields = ("site__name", "subject", "rule__name")
    date_hierarchy = "opened_at"
    show_full_result_count = False
    fieldsets = (
        (
            None,
            {"fields": ("about", "rule", "state", "opened_at", "closed_at", "lasted", "reason")},
        ),
        ("What happened", {"fields": ("timeline", "messages")}),
    )
    readonly_fields = ("about", "state", "lasted", "timeline", "messages")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return Alert.objects.with_names()

    @admin.display(description="About", ordering="site__name")
    def about(self, alert: Alert) -> str:
        return alert.about

    @admin.display(description="State", ordering="closed_at")
    def state(self, alert: Alert) -> SafeString:
        return pill("open", kind="bad") if alert.closed_at is None else pill("over", kind="good")

    @admin.display(description="Lasted")
    def lasted(self, alert: Alert) -> str:
        return in_words(alert.duration(timezone.now()))

    @admin.display(description="Timeline")
    def timeline(self, alert: Alert) -> SafeString:
        rows = (
            (
                f"{event.at:%d %b %H:%M:%S}",
                pill(event.get_kind_display(), kind=KIND_OF_EVENT[AlertEvent.Kind(event.kind)]),
                event.reason,
            )
            for event in alert.events.all()
        )
        return format_html_join(SafeString("<br>"), "{} {} {}", rows)

    @admin.display(description="Messages")
    def messages(self, alert: Alert) -> SafeString | str:
        deliveries = Delivery.objects.filter(events__alert=alert).distinct()
        deliveries = deliveries.select_related("channel").defer("channel__secrets")
        rows = (
            (
                reverse("admin:alerts_delivery_change", args=[delivery.pk]),
                f"{delivery.created_at:%d %b %H:%M:%S}",
                delivery.channel,
                status_pill(delivery),
                delivery.error,
            )
            for delivery in deliveries.order_by("created_at")
        )
        return format_html_join(SafeString("<br>"), '<a href="{}">{} {}</a> {} {}', rows) or "—"


@admin.register(Delivery)
class DeliveryAdmin(RecordAdmin):
    list_display = (
        "created_at",
        "channel",
        "status_shown",
        "attempts",
        "sent_at",
        "due_at",
        "error",
    )
    list_filter = ("status", "channel", "created_at")
    date_hierarchy = "created_at"
    show_full_result_count = False
    actions = ("send_again",)
    fields = (
        "id", "channel", "status_shown", "attempts", "created_at", "due_at", "sent_at", "give_up_at", "error",
        "about",
    )  # fmt: skip
    readonly_fields = ("id", "status_shown", "about")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        deliveries: QuerySet[Delivery] = super().get_queryset(request)
        alerts = Prefetch("alert", Alert.objects.with_names())
        events = AlertEvent.objects.prefetch_related(alerts)
        deliveries = deliveries.select_related("channel").defer("channel__secrets")
        return deliveries.prefetch_related(Prefetch("events", queryset=events))

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("alerts.change_delivery")

    @admin.display(description="Status", ordering="status")
    def status_shown(self, delivery: Delivery) -> SafeString:
        return status_pill(delivery)

    @admin.display(description="About")
    def about(self, delivery: Delivery) -> SafeString:
        rows = (
            (reverse("admin:alerts_alert_change", args=[event.alert_id]), event.alert, event)
            for event in delivery.events.all()
        )
        return format_html_join(SafeString("<br>"), '<a href="{}">{}</a> {}', rows)

    @admin.action(description="Send again, those that failed", permissions=["send"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        now = timezone.now()
        count = sum(send_again(delivery, now) for delivery in queryset)
        if not count:
            self.message_user(request, "None of these has failed.", messages.WARNING)
            return
        try:
            publish_due(now)
        except QStashProblem as error:
            text = f"{count} will be sent by the next evaluation: {error}"
            self.message_user(request, text, messages.WARNING)
        else:
            self.message_user(request, f"{count} on their way again.", messages.SUCCESS)


def status_pill(delivery: Delivery) -> SafeString:
    """What has become of a message, as a coloured word."""
    status = Delivery.Status(delivery.status)
    shown = pill(status.label, kind=KIND_OF_STATUS[status])
    if status == Delivery.Status.WAITING and delivery.attempts:
        return format_html("{} after {} failed attempts", shown, delivery.attempts)
    return shown
