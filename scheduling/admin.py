"""Schedules and runs in the admin."""

import functools
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import admin, messages
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from scheduling import sync
from scheduling.cron import in_words
from scheduling.forms import ScheduledJobForm, cost_context, pretty_json
from scheduling.models import JobRun, ScheduledJob
from scheduling.qstash import QStashProblem

NEXT_FIRE_TIMES = 5


@admin.register(ScheduledJob)
class ScheduledJobAdmin(admin.ModelAdmin):
    form = ScheduledJobForm
    list_display = ("name", "when", "next_fire", "last_run", "at_qstash", "state")
    list_filter = ("enabled", "push_status")
    search_fields = ("key", "name", "description", "url")
    actions = ("run_now", "push_again", "pause", "resume")
    readonly_fields = ("schedule_id", "at_qstash", "pushed_at", "next_fire_times")
    save_on_top = True

    fieldsets = (
        (None, {"fields": ("name", "key", "description", "enabled")}),
        ("When", {"fields": (("cron", "timezone"), "next_fire_times")}),
        ("What it calls", {"fields": ("job_key", "url", "method", "body")}),
        ("Headers", {"fields": ("headers", "secret_headers"), "classes": ("collapse",)}),
        ("Delivery", {"fields": (("retries", "retry_delay_ms"), "timeout_s", "label")}),
        (
            "Callbacks",
            {"fields": ("callback_url", "failure_callback_url"), "classes": ("collapse",)},
        ),
        ("At QStash", {"fields": ("schedule_id", "at_qstash", "pushed_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScheduledJob]:
        last = JobRun.objects.filter(job_key=OuterRef("job_key")).exclude(job_key="")[:1]
        jobs: QuerySet[ScheduledJob] = super().get_queryset(request)
        return jobs.annotate(
            last_status=Subquery(last.values("status")),
            last_start=Subquery(last.values("started_at")),
        )

    def get_readonly_fields(
        self, request: HttpRequest, obj: ScheduledJob | None = None
    ) -> tuple[str, ...]:
        # QStash would keep the schedule of the old key.
        return (*self.readonly_fields, "key") if obj else self.readonly_fields

    def get_prepopulated_fields(
        self, request: HttpRequest, obj: ScheduledJob | None = None
    ) -> dict[str, Sequence[str]]:
        return {} if obj else {"key": ("name",)}

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        # The secret field is the form's own; Django would look for it among the editable ones of
        # the model.
        kwargs["fields"] = None
        return super().get_form(request, obj, change=change, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        cost = path(
            "cost", self.admin_site.admin_view(self.cost), name="scheduling_scheduledjob_cost"
        )
        return [cost, *super().get_urls()]

    def cost(self, request: HttpRequest) -> HttpResponse:
        """What the cadence ?cron= costs, for the form while it is typed. row: left out of the others."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        context = cost_context(request.GET.get("cron", ""), request.GET.get("row", ""))
        return render(request, "scheduling/_cost.html", context)

    @admin.display(description="When", ordering="cron")
    def when(self, job: ScheduledJob) -> SafeString:
        zone = "" if job.timezone == "UTC" else f" ({job.timezone})"
        return format_html("{}{}<br><code>{}</code>", in_words(job.cron), zone, job.cron)

    @admin.display(description="Next")
    def next_fire(self, job: ScheduledJob) -> SafeString | str:
        if not job.enabled:
            return "—"
        instants = job.next_fire_times(1)
        return str(naturaltime(instants[0])) if instants else "never"

    @admin.display(description="Next fire times")
    def next_fire_times(self, job: ScheduledJob) -> SafeString | str:
        if not job.pk:
            return "Shown once the schedule is saved."
        instants = job.next_fire_times(NEXT_FIRE_TIMES)
        clock = "%H:%M:%S" if job.has_ticks else "%H:%M"
        rows = [(_at(instant, job.timezone, clock),) for instant in instants]
        return (
            format_html_join(SafeString("<br>"), "{}", rows)
            if rows
            else "None: it is disabled, or names a day that never comes."
        )

    @admin.display(description="Last run", ordering="last_start")
    def last_run(self, job: Any) -> SafeString | str:
        if not job.last_start:
            return "—"
        return format_html("{} {}", pill(job.last_status), naturaltime(job.last_start))

    @admin.display(description="At QStash")
    def at_qstash(self, job: ScheduledJob) -> SafeString:
        return format_html("{} {}", push_pill(job), "" if job.is_pushed else job.push_error)

    @admin.display(description="State", ordering="enabled")
    def state(self, job: ScheduledJob) -> SafeString:
        return pill("active", kind="good") if job.enabled else pill("paused", kind="off")

    @admin.action(description="Run now, through QStash", permissions=["change"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        for job in queryset:
            try:
                message_id = sync.publish_run(
                    job, JobRun.Trigger.ADMIN, caller=request.user.get_username()
                )
            except (QStashProblem, ValidationError) as error:
                self.message_user(request, f"{job}: {_text(error)}", messages.ERROR)
            else:
                self.message_user(
                    request, f"{job}: on its way as QStash message {message_id}.", messages.SUCCESS
                )

    @admin.action(description="Push to QStash again", permissions=["change"])
    def push_again(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        self._push(request, queryset)

    @admin.action(description="Pause", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        queryset.update(enabled=False, updated_at=timezone.now())
        self._push(request, queryset)

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        queryset.update(enabled=True, updated_at=timezone.now())
        self._push(request, queryset)

    def _push(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        ids = list(queryset.values_list("pk", flat=True))
        sync.push_all(ids)
        for job in ScheduledJob.objects.filter(pk__in=ids):
            if job.is_pushed:
                self.message_user(request, f"{job}: QStash has it as it is here.", messages.SUCCESS)
            else:
                self.message_user(
                    request, f"{job}: kept, but not pushed. {job.push_error}", messages.WARNING
                )

    def save_model(self, request: HttpRequest, obj: ScheduledJob, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        # The admin saves inside a transaction. This comes after the push, which waits for the same commit.
        transaction.on_commit(functools.partial(self._tell_push, request, obj))

    def _tell_push(self, request: HttpRequest, job: ScheduledJob) -> None:
        job.refresh_from_db()
        if not job.is_pushed:
            message = f"Saved, but QStash does not have it yet: {job.push_error}"
            self.message_user(request, message, messages.WARNING)


class ReadOnlyAdmin(admin.ModelAdmin):
    """For what only the product itself writes, and people may delete."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class RecordAdmin(ReadOnlyAdmin):
    """For records of what happened, which nobody deletes by hand."""

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(JobRun)
class JobRunAdmin(RecordAdmin):
    list_display = (
        "started_at",
        "job_name",
        "outcome",
        "trigger",
        "caller",
        "attempt",
        "duration_ms",
        "shown_counts",
    )
    list_filter = ("status", "trigger", "job_key", "started_at")
    search_fields = ("message_id", "schedule_id", "error", "caller")
    date_hierarchy = "started_at"
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("job_name", "outcome", "started_at", "duration_ms", "trigger", "caller", "attempt")}),
        ("Outcome", {"fields": ("shown_counts", "error", "traceback", "shown_answer")}),
        ("Delivery", {"fields": ("message_id", "schedule_id", "signature_id", "lease_expires_at", "finished_at")}),
    )  # fmt: skip

    def get_readonly_fields(
        self, request: HttpRequest, obj: JobRun | None = None
    ) -> tuple[str, ...]:
        return ("job_name", "outcome", "shown_counts", "shown_answer")

    @admin.display(description="Status", ordering="status")
    def outcome(self, run: JobRun) -> SafeString:
        return pill(run.status)

    @admin.display(description="Counts")
    def shown_counts(self, run: JobRun) -> str:
        return ", ".join(f"{name} {number}" for name, number in run.counts.items()) or "—"

    @admin.display(description="Answer")
    def shown_answer(self, run: JobRun) -> SafeString | str:
        return format_html("<pre>{}</pre>", pretty_json(run.answer)) if run.answer else "—"


KIND_OF_STATUS = {
    "succeeded": "good",
    "running": "info",
    "skipped": "off",
    "failed": "bad",
    "abandoned": "bad",
}


def pill(text: str, *, kind: str = "") -> SafeString:
    """A state as a coloured word; static/soloboard/admin.css gives the colours."""
    return format_html(
        '<span class="pill {}">{}</span>', kind or KIND_OF_STATUS.get(text, "off"), text
    )


def push_pill(job: ScheduledJob) -> SafeString:
    """Whether QStash has the row as it is here."""
    if job.is_pushed:
        return pill("up to date", kind="good")
    if job.push_status == ScheduledJob.Push.FAILED:
        return pill("not pushed", kind="bad")
    return pill("older version" if job.pushed_at else "not pushed", kind="warn")


def _at(instant: datetime, zone_name: str, clock: str) -> str:
    local = instant.astimezone(ZoneInfo(zone_name)).strftime(f"%a %d %b %Y {clock} %Z")
    return local if zone_name == "UTC" else f"{local} ({instant.strftime(clock)} UTC)"


def _text(error: Exception) -> str:
    return "; ".join(getattr(error, "messages", [str(error)]))
