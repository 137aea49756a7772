"""Users as recommendations see them, in the admin."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from recommendations.explaining import explain
from recommendations.models import MAX_ID_LENGTH, UserAction, UserEmbedding
from recommendations.readers import find_reader
from recommendations.serving import Wish, recommend, titles_of
from scheduling.admin import ReadOnlyAdmin

LIST_SHOWN = 20
ACTIONS_SHOWN = 50
SOURCES = {
    "cache": "kept list",
    "computed": "made just now",
    "trending": "what is trending",
    "popular": "what is popular",
}


@admin.register(UserEmbedding)
class UserEmbeddingAdmin(ReadOnlyAdmin):
    """The vectors, to be looked at alone, and a page for each user."""

    list_display = ("user", "version", "items_used", "actions_used", "updated_at")
    list_display_links = None
    list_filter = ("version",)
    list_select_related = ("version",)
    search_fields = ("user_id",)
    change_list_template = "admin/recommendations/user_embeddings.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[UserEmbedding]:
        rows: QuerySet[UserEmbedding] = super().get_queryset(request)
        return rows.defer("vector", "version__arrays")

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.user_view)
        return [path("user/", page, name="recommendations_user"), *super().get_urls()]

    def has_delete_permission(self, request: HttpRequest, obj: UserEmbedding | None = None) -> bool:
        return False

    @admin.display(description="User", ordering="user_id")
    def user(self, row: UserEmbedding) -> SafeString:
        address = f"{reverse('admin:recommendations_user')}?{urlencode({'user_id': row.user_id})}"
        return format_html('<a href="{}">{}</a>', address, row.user_id)

    def user_view(self, request: HttpRequest) -> HttpResponse:
        """What a user did, the list that follows from it, and why an item is or is not in it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        user_id = request.GET.get("user_id", "").strip()[:MAX_ID_LENGTH]
        item_id = request.GET.get("item_id", "").strip()[:MAX_ID_LENGTH]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"User {user_id}" if user_id else "Look at a user",
            "user_id": user_id,
            "item_id": item_id,
            **(_about(user_id, item_id) if user_id else {}),
        }
        return TemplateResponse(request, "admin/recommendations/user.html", context)


def _about(user_id: str, item_id: str) -> dict[str, Any]:
    answer = recommend(Wish(user_id=user_id, limit=LIST_SHOWN))
    own = UserAction.objects.filter(user_id=user_id)
    shown = list(own[:ACTIONS_SHOWN])
    titles = titles_of({action.item_id for action in shown})
    return {
        "answer": answer,
        "source": SOURCES[answer.source],
        "embedding": find_reader(user_id).embedding,
        "actions": [(action, titles.get(action.item_id, "")) for action in shown],
        "action_count": own.count(),
        "explanation": explain(user_id, item_id, answer) if item_id else None,
    }
