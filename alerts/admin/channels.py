"""Channels in the admin, each with a test."""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST

from alerts.admin.kinds import KindAdmin
from alerts.channels import CHANNELS
from alerts.channels.base import ChannelError
from alerts.delivering import send_test
from alerts.forms import KindForm, channel_form
from alerts.models import Channel


@admin.register(Channel)
class ChannelAdmin(KindAdmin):
    list_display = ("name", "kind_name", "quiet", "enabled")
    list_filter = ("enabled",)
    search_fields = ("name",)
    actions = ("send_tests",)
    change_form_template = "admin/alerts/channel/change_form.html"
    kinds = CHANNELS
    question = "How do you want to be reached?"
    own_fields = ("name", "enabled")
    more_fields = (
        ("Quiet hours and floods", ("quiet_from", "quiet_until", "timezone", "digest_above")),
    )

    def form_of(self, key: str) -> type[KindForm]:
        return channel_form(CHANNELS[key])

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.test_view)
        own = path("<int:channel_id>/test/", page, name="alerts_channel_test")
        return [own, *super().get_urls()]

    @admin.display(description="Kind", ordering="kind")
    def kind_name(self, channel: Channel) -> str:
        return channel.kind_name

    @admin.display(description="Quiet hours")
    def quiet(self, channel: Channel) -> str:
        hours = channel.quiet_hours
        return f"{hours.begin:%H:%M}–{hours.end:%H:%M} {hours.timezone}" if hours else "—"  # noqa: RUF001

    @method_decorator(require_POST)
    def test_view(self, request: HttpRequest, channel_id: int) -> HttpResponse:
        """Send a test, and say how it went."""
        channel = Channel.objects.filter(pk=channel_id).first()
        if channel is None:
            raise Http404("There is no such channel.")
        if not self.has_change_permission(request, channel):
            raise PermissionDenied
        self._test(request, channel)
        return HttpResponseRedirect(reverse("admin:alerts_channel_change", args=[channel.pk]))

    @admin.action(description="Send a test", permissions=["change"])
    def send_tests(self, request: HttpRequest, queryset: QuerySet[Channel]) -> None:
        for channel in queryset:
            self._test(request, channel)

    def _test(self, request: HttpRequest, channel: Channel) -> None:
        try:
            send_test(channel)
        except ChannelError as error:
            self.message_user(request, f"{channel}: not sent. {error}", messages.ERROR)
        else:
            self.message_user(
                request, f"{channel}: sent; the other side has taken it.", messages.SUCCESS
            )
