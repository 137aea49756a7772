"""Sites in the admin."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from scheduling.admin import pill
from scheduling.forms import pretty_json
from scheduling.models import JobRun
from scheduling.qstash import QStashProblem
from sites.admin.colours import KIND_OF_STATE
from sites.forms import CREDENTIAL, OPTION, THRESHOLDS, TRY, MonitoredSiteForm, form_for
from sites.jobs import request_sync
from sites.models import MonitoredSite, SiteDay, SiteHour, SiteSnapshot
from sites.platforms import PLATFORMS
from sites.trying import try_connection

HISTORY_SHOWN = 20


class PlatformFilter(admin.SimpleListFilter):
    title = "platform"
    parameter_name = "platform"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(platform.key, platform.name) for platform in PLATFORMS.values()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[MonitoredSite]
    ) -> QuerySet[MonitoredSite]:
        return queryset.filter(platform=self.value()) if self.value() else queryset


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(state.value, state.label) for state in MonitoredSite.State]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[MonitoredSite]
    ) -> QuerySet[MonitoredSite]:
        if self.value() is None:
            return queryset
        return queryset.filter(pk__in=MonitoredSite.objects.shown_as(str(self.value())))


@admin.register(MonitoredSite)
class MonitoredSiteAdmin(admin.ModelAdmin):
    list_display = ("name", "platform_name", "shown_state", "freshness", "latency", "enabled")
    list_filter = (PlatformFilter, StateFilter, "enabled")
    search_fields = ("name",)
    actions = ("sync_now",)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for the platform first; its fields follow from it."""
        key = request.GET.get("platform")
        if key is None:
            context = {
                **self.admin_site.each_context(request),
                "platforms": PLATFORMS.values(),
                "opts": self.opts,
            }
            return TemplateResponse(request, "admin/sites/choose_platform.html", context)
        if key not in PLATFORMS:
            raise Http404(f"There is no platform {key!r}.")
        return super().add_view(request, form_url, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Add the answer of 'Test connection', or give a script nothing but that.

        The call goes out here, because Django's own view runs in a transaction.
        """
        if TRY in request.POST:
            outcome = self._try(request, object_id)
            if getattr(request, "htmx", False):
                return render(request, "admin/sites/_trial.html", outcome)
            extra_context = {**(extra_context or {}), **outcome, "retype_credentials": True}
        return super().changeform_view(request, object_id, form_url, extra_context)

    def _try(self, request: HttpRequest, object_id: str | None) -> dict[str, Any]:
        site = self.get_object(request, unquote(object_id)) if object_id else None
        if object_id and site is None:
            raise Http404("There is no such site.")
        if not (
            self.has_change_permission(request, site) if site else self.has_add_permission(request)
        ):
            raise PermissionDenied
        form: MonitoredSiteForm = self.get_form(request, site)(request.POST, instance=site)
        if not form.can_be_tried:
            return {"faults": [(form[name].label, faults) for name, faults in form.errors.items()]}
        trial = try_connection(form.instance, caller=request.user.get_username())
        return {"trial": trial, "kind": KIND_OF_STATE[trial.state]}

    def get_form(
        self,
        request: HttpRequest,
        obj: MonitoredSite | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> Any:
        if obj and not self.has_change_permission(request, obj):
            kwargs["fields"] = ["name", "enabled", "timezone"]
            return super().get_form(request, obj, change=change, **kwargs)
        platform = obj.fetcher if obj else PLATFORMS[request.GET["platform"]]
        kwargs["fields"] = None
        return super().get_form(request, obj, change=change, form=form_for(platform), **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[MonitoredSite]:
        return MonitoredSite.objects.sealed()

    def has_change_permission(self, request: HttpRequest, obj: MonitoredSite | None = None) -> bool:
        # Without the code of its platform a site can be looked at and deleted, and no more.
        has_code = obj is None or obj.platform in PLATFORMS
        return has_code and super().has_change_permission(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: MonitoredSite | None = None) -> Any:
        form = self.get_form(request, obj)
        options = [name for name in form.base_fields if name.startswith(OPTION)]
        credentials = [name for name in form.base_fields if name.startswith(CREDENTIAL)]
        if obj and obj.has_credentials and self.has_change_permission(request, obj):
            credentials.append("forget_credentials")
        sets = [
            (None, {"fields": ["name", "enabled", "timezone"]}),
            (obj.platform_name if obj else form.platform.name, {"fields": options}),
            ("Credentials", {"fields": credentials}),
            ("Incidents", {"fields": [name for name in THRESHOLDS if name in form.base_fields]}),
        ]
        if obj:
            sets.append(("Last sync", {"fields": list(self.get_readonly_fields(request, obj))}))
        return [(title, fields) for title, fields in sets if fields["fields"]]

    def get_readonly_fields(
        self, request: HttpRequest, obj: MonitoredSite | None = None
    ) -> tuple[str, ...]:
        return ("reason", "freshness", "snapshot", "history") if obj else ()

    def view_on_site(self, site: MonitoredSite) -> str:
        """The page with its history."""
        return reverse("site", args=[site.pk])

    def save_model(self, request: HttpRequest, obj: MonitoredSite, form: Any, change: bool) -> None:
        if change:
            obj.save_settings()
        else:
            obj.save()

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Count the history instead of listing it: a site has thousands of rows."""
        ids = [site.pk for site in objs]
        counts = {"monitored sites": len(objs)}
        for name, model in {"points": SiteSnapshot, "hours": SiteHour, "days": SiteDay}.items():
            counts[name] = model._default_manager.filter(site__in=ids).count()
        return [str(site) for site in objs], counts, set(), []

    @admin.display(description="Platform", ordering="platform")
    def platform_name(self, site: MonitoredSite) -> str:
        return site.platform_name

    @admin.display(description="State", ordering="state")
    def shown_state(self, site: MonitoredSite) -> SafeString:
        state = site.shown_state
        return pill(state.label, kind=KIND_OF_STATE[state])

    @admin.display(description="State")
    def reason(self, site: MonitoredSite) -> SafeString:
        return format_html("{} {}", self.shown_state(site), site.state_reason)

    @admin.display(description="Last sync", ordering="last_sync_at")
    def freshness(self, site: MonitoredSite) -> str:
        return str(naturaltime(site.last_sync_at)) if site.last_sync_at else "never"

    @admin.display(description="Latency")
    def latency(self, site: MonitoredSite) -> str:
        latency_ms = (site.last_snapshot or {}).get("latency_ms")
        return "—" if latency_ms is None else f"{latency_ms} ms"

    @admin.display(description="Last snapshot")
    def snapshot(self, site: MonitoredSite) -> SafeString | str:
        if site.last_snapshot is None:
            return "—"
        return format_html("<pre>{}</pre>", pretty_json(site.last_snapshot))

    @admin.display(description="History")
    def history(self, site: MonitoredSite) -> SafeString:
        rows = (
            (f"{entry.taken_at:%d %b %H:%M:%S}", pill(entry.get_state_display(), kind=KIND_OF_STATE[
                MonitoredSite.State(entry.state)]), entry.reason)
            for entry in SiteSnapshot.objects.filter(site=site)[:HISTORY_SHOWN]
        )  # fmt: skip
        return format_html_join(SafeString("<br>"), "{} {} {}", rows)

    @admin.action(description="Sync now, through QStash", permissions=["change"])
    def sync_now(self, request: HttpRequest, queryset: QuerySet[MonitoredSite]) -> None:
        names = list(queryset.values_list("name", flat=True))
        try:
            message_id = request_sync(
                names, JobRun.Trigger.ADMIN, caller=request.user.get_username()
            )
        except QStashProblem as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(
                request,
                f"{len(names)} sites: on their way as QStash message {message_id}.",
                messages.SUCCESS,
            )
