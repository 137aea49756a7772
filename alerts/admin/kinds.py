"""What the pages of rules and of channels share: the kind is chosen first, its fields follow."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from alerts.channels.base import ChannelKind
from alerts.forms import OPTION, SECRET, KindForm
from alerts.rules.base import RuleKind


class KindAdmin(admin.ModelAdmin):
    """kinds: by key. question: above the choice. own_fields: the names of the fields before those of
    the kind; more_fields: those after them, with their title.
    """

    kinds: Mapping[str, RuleKind[Any] | ChannelKind]
    question: str
    own_fields: tuple[str, ...]
    more_fields: tuple[tuple[str, tuple[str, ...]], ...]

    def form_of(self, key: str) -> type[KindForm]:
        """The form class for one kind."""
        raise NotImplementedError

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        key = request.GET.get("kind")
        if key is None:
            context = {
                **self.admin_site.each_context(request),
                "kinds": self.kinds.values(),
                "question": self.question,
                "opts": self.opts,
            }
            return TemplateResponse(request, "admin/alerts/choose_kind.html", context)
        if key not in self.kinds:
            raise Http404(f"There is no kind {key!r}.")
        return super().add_view(request, form_url, extra_context)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        key = obj.kind if obj else request.GET["kind"]
        if key not in self.kinds:
            return super().get_form(request, obj, change=change, **{**kwargs, "fields": ["name"]})
        form = self.form_of(key)
        return super().get_form(
            request, obj, change=change, **{**kwargs, "fields": None, "form": form}
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        names = list(self.get_form(request, obj).base_fields)
        kind = self.kinds.get(obj.kind if obj else request.GET["kind"])
        if kind is None:
            return [(None, {"fields": ["name"]})]
        options = [name for name in names if name.startswith(OPTION)]
        secrets = [name for name in names if name.startswith(SECRET)]
        sets: list[tuple[str | None, dict[str, Any]]] = [
            (None, {"fields": list(self.own_fields)}),
            (kind.name, {"fields": options, "description": kind.description}),
            ("Secrets", {"fields": secrets}),
            *((title, {"fields": list(fields)}) for title, fields in self.more_fields),
        ]
        return [(title, fields) for title, fields in sets if fields["fields"]]

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Name what is deleted, and not each of the alerts and messages that go with it."""
        return (
            [str(row) for row in objs],
            {str(self.opts.verbose_name_plural): len(objs)},
            set(),
            [],
        )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Without the code of its kind a row can be looked at and deleted, and no more.
        has_code = obj is None or obj.kind in self.kinds
        return has_code and super().has_change_permission(request, obj)
