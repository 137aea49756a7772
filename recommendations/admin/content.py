"""Content, actions, the quarantine and the tokens of applications in the admin."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.html import format_html
from django.utils.safestring import SafeString

from recommendations import quarantine, tokens
from recommendations.models import (
    ApplicationToken,
    ContentItem,
    ItemVector,
    QuarantinedAction,
    UserAction,
)
from scheduling.admin import ReadOnlyAdmin, pill

#: Of the raw text of an entry, in characters.
SHOWN_IN_LIST, SHOWN_ON_PAGE = 80, 20_000


class ListableFilter(admin.SimpleListFilter):
    title = "recommendable"
    parameter_name = "listable"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("yes", "Yes, now"), ("no", "Not now")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ContentItem]
    ) -> QuerySet[ContentItem]:
        listable = ContentItem.objects.listable().values("pk")
        if self.value() == "yes":
            return queryset.filter(pk__in=listable)
        return queryset.exclude(pk__in=listable) if self.value() == "no" else queryset


@admin.register(ContentItem)
class ContentItemAdmin(admin.ModelAdmin):
    list_display = ("title", "external_id", "shown_topics", "published_at", "state")
    list_filter = (ListableFilter, "hidden", "published_at")
    # The title stands for all that get_search_results() looks at.
    search_fields = ("title",)
    date_hierarchy = "published_at"
    show_full_result_count = False
    actions = ("hide", "show")
    fieldsets = (
        (None, {"fields": ("external_id", "title", "topics", "text")}),
        ("When it may be recommended", {"fields": ("published_at", "expires_at", "hidden")}),
        ("Here", {"fields": ("state", "vector", "created_at", "updated_at")}),
    )
    readonly_fields = ("state", "vector", "created_at", "updated_at")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, AdminSplitDateTime):
            # Django names the pair, and neither of the two to a screen reader.
            for widget, part in zip(field.widget.widgets, ("date", "time"), strict=True):
                widget.attrs["aria-label"] = f"{field.label}, {part}"
        if field is not None and db_field.name == "topics":
            field.help_text = "Separated by commas."
        return field

    def get_readonly_fields(
        self, request: HttpRequest, obj: ContentItem | None = None
    ) -> tuple[str, ...]:
        # The actions of its users would stay with the old id.
        return (*self.readonly_fields, "external_id") if obj else ()

    def get_fieldsets(self, request: HttpRequest, obj: ContentItem | None = None) -> Any:
        return self.fieldsets if obj else self.fieldsets[:2]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ContentItem], search_term: str
    ) -> tuple[QuerySet[ContentItem], bool]:
        found = queryset.filter(title__icontains=search_term)
        found |= queryset.filter(external_id=search_term)
        found |= queryset.filter(topics__contains=[search_term])
        return (found if search_term else queryset), False

    @admin.display(description="Topics")
    def shown_topics(self, item: ContentItem) -> str:
        return ", ".join(item.topics) or "—"

    @admin.display(description="State")
    def state(self, item: ContentItem) -> SafeString:
        now = timezone.now()
        if item.hidden:
            return pill("hidden", kind="off")
        if item.published_at > now:
            return pill("not yet published", kind="info")
        if item.expires_at is not None and item.expires_at <= now:
            return pill("expired", kind="off")
        return pill("recommendable", kind="good")

    @admin.display(description="Vector")
    def vector(self, item: ContentItem) -> str:
        vector = ItemVector.objects.filter(
            version__status="active", item_id=item.external_id
        ).first()
        if vector is None:
            return "None yet; the next training makes one."
        return "Made from its text and topics" if vector.from_text else "Learned from actions"

    @admin.action(description="Hide", permissions=["change"])
    def hide(self, request: HttpRequest, queryset: QuerySet[ContentItem]) -> None:
        self._set_hidden(request, queryset, hidden=True)

    @admin.action(description="Show again", permissions=["change"])
    def show(self, request: HttpRequest, queryset: QuerySet[ContentItem]) -> None:
        self._set_hidden(request, queryset, hidden=False)

    def _set_hidden(
        self, request: HttpRequest, queryset: QuerySet[ContentItem], *, hidden: bool
    ) -> None:
        count = queryset.update(hidden=hidden, updated_at=timezone.now())
        state = "hidden" if hidden else "not hidden"
        self.message_user(request, f"{count} items: {state} from now on.", messages.SUCCESS)


@admin.register(UserAction)
class UserActionAdmin(ReadOnlyAdmin):
    list_display = ("occurred_at", "user_id", "action", "item_id", "received_at")
    list_filter = ("occurred_at",)
    # Whole ids, so that the indexes are used: there may be millions.
    search_fields = ("user_id__exact", "item_id__exact", "action_id__exact")
    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: UserAction | None = None) -> bool:
        return False


@admin.register(QuarantinedAction)
class QuarantinedActionAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "reason", "shown_raw")
    list_filter = ("created_at",)
    search_fields = ("reason", "user_id__exact")
    fields = ("created_at", "reason", "user_id", "whole_raw", "entry_id")
    readonly_fields = ("whole_raw",)
    actions = ("put_back",)

    @admin.display(description="Entry")
    def shown_raw(self, action: QuarantinedAction) -> SafeString:
        return format_html("<code>{}</code>", quarantine.shown(action, SHOWN_IN_LIST))

    @admin.display(description="Entry")
    def whole_raw(self, action: QuarantinedAction) -> SafeString:
        return format_html("<pre>{}</pre>", quarantine.shown(action, SHOWN_ON_PAGE))

    # Who may delete an entry may also give it another chance.
    @admin.action(description="Put back into the queue", permissions=["delete"])
    def put_back(self, request: HttpRequest, queryset: QuerySet[QuarantinedAction]) -> None:
        count = quarantine.put_back(queryset)
        self.message_user(
            request, f"{count} entries: back in the queue, and processed with it.", messages.SUCCESS
        )


@admin.register(ApplicationToken)
class ApplicationTokenAdmin(admin.ModelAdmin):
    list_display = ("name", "state", "created_at", "last_used")
    search_fields = ("name",)
    fields = ("name", "state", "created_at", "last_used")
    readonly_fields = ("state", "created_at", "last_used")
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: ApplicationToken | None = None) -> Any:
        return self.fields if obj else ("name",)

    def save_model(
        self, request: HttpRequest, obj: ApplicationToken, form: Any, change: bool
    ) -> None:
        if not change:
            # For this request alone: the next page shows it, and nothing stores it.
            obj.secret = tokens.new_secret()  # type: ignore[attr-defined]
            obj.digest = tokens.digest(obj.secret)  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: ApplicationToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Answer with the token itself. After a redirect it would have to be stored somewhere."""
        context = {
            **self.admin_site.each_context(request),
            "title": f"Token of {obj.name}",
            "opts": self.opts,
            "token": obj,
            "secret": obj.secret,  # type: ignore[attr-defined]
        }
        page = TemplateResponse(request, "admin/recommendations/token.html", context)
        add_never_cache_headers(page)
        return page

    @admin.display(description="State", ordering="revoked_at")
    def state(self, token: ApplicationToken) -> SafeString:
        if token.revoked_at is None:
            return pill("active", kind="good")
        return format_html("{} {}", pill("revoked", kind="off"), naturaltime(token.revoked_at))

    @admin.display(description="Last used", ordering="last_used_at")
    def last_used(self, token: ApplicationToken) -> str:
        return str(naturaltime(token.last_used_at)) if token.last_used_at else "never"

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApplicationToken]) -> None:
        count = tokens.revoke(list(queryset.values_list("pk", flat=True)))
        self.message_user(
            request, f"{count} tokens: revoked. Calls with them are refused.", messages.SUCCESS
        )
