"""Sites and sync logs for staff, over the browsable API."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from encryption.keyring import DecryptionFailed
from scheduling.models import JobRun
from sites.configuration import clean_credentials, clean_options
from sites.history import export
from sites.jobs import request_sync
from sites.models import Incident, IncidentEvent, MonitoredSite, SyncLog
from sites.platforms import PLATFORMS


class MonitoredSiteSerializer(serializers.ModelSerializer):
    """A site. Options that are left out take the defaults of its platform, or with PATCH what is
    stored.

    credentials: written only. Those that are left out keep what is stored; `credential_names` tells
        which are.
    """

    platform = serializers.ChoiceField(
        choices=[(platform.key, platform.name) for platform in PLATFORMS.values()]
    )
    options = serializers.DictField()
    credentials = serializers.DictField(
        child=serializers.CharField(trim_whitespace=False), write_only=True, required=False
    )
    credential_names = serializers.SerializerMethodField()
    state = serializers.CharField(source="shown_state", read_only=True)

    class Meta:
        model = MonitoredSite
        fields = [
            "id", "name", "platform", "options", "credentials", "credential_names", "timezone", "enabled",
            "failures_to_open", "successes_to_close", "state", "state_reason", "state_since",
            "last_attempt_at", "last_sync_at", "last_snapshot", "failures", "not_before",
        ]  # fmt: skip
        read_only_fields = [
            "state_reason", "state_since", "last_attempt_at", "last_sync_at", "last_snapshot", "failures",
            "not_before",
        ]  # fmt: skip

    def get_credential_names(self, site: MonitoredSite) -> list[str] | None:
        """None when the key of the credentials is missing."""
        try:
            return sorted(site.open_credentials())
        except DecryptionFailed:
            return None

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        site = self.instance if isinstance(self.instance, MonitoredSite) else MonitoredSite()
        if site.pk and attrs.get("platform", site.platform) != site.platform:
            raise serializers.ValidationError(
                {"platform": "The platform of a site cannot be changed; add another site."}
            )
        platform = PLATFORMS.get(attrs.get("platform", site.platform))
        if platform is None:
            raise serializers.ValidationError(
                {"platform": f"No platform {site.platform!r} any more; only delete the site."}
            )
        kept = site.options if self.partial else {}
        options = {**platform.options(kept), **attrs.get("options", {})}
        attrs["options"] = _at_field("options", clean_options, platform, options)
        typed, stored = attrs.pop("credentials", {}), _readable_credentials(site)
        credentials = _at_field(
            "credentials", clean_credentials, platform, attrs["options"], typed, stored
        )
        if credentials != stored:
            attrs["credentials"] = credentials
        return attrs

    def update(self, instance: MonitoredSite, validated_data: dict[str, Any]) -> MonitoredSite:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.not_before = None
        instance.save_settings()
        return instance


class SyncLogSerializer(serializers.ModelSerializer):
    """duration: milliseconds."""

    class Meta:
        model = SyncLog
        fields = [
            "id", "status", "duration", "sites_total", "sites_synced", "sites_failed", "sites_carried_over",
            "errors", "run", "created_at",
        ]  # fmt: skip


class IncidentEventSerializer(serializers.ModelSerializer):
    class Meta:
        model = IncidentEvent
        fields = ["at", "kind", "state", "reason"]


class IncidentSerializer(serializers.ModelSerializer):
    """site: null for our own network. duration_s: so far, while it is open."""

    site_name = serializers.CharField(source="site.name", default=None)
    duration_s = serializers.SerializerMethodField()
    events = IncidentEventSerializer(many=True)

    class Meta:
        model = Incident
        fields = [
            "id", "site", "site_name", "state", "reason", "opened_at", "closed_at", "duration_s", "events",
        ]  # fmt: skip

    def get_duration_s(self, incident: Incident) -> float:
        return incident.duration(timezone.now()).total_seconds()


class ExportSerializer(serializers.Serializer):
    """What can be asked of an export; see export.Wish. `format` would be DRF's own."""

    by = serializers.ChoiceField(["day", "hour"], default="day")
    site = serializers.ListField(child=serializers.IntegerField(), required=False)

    def get_fields(self) -> dict[str, serializers.Field]:
        # `from` and `as` are words of Python's.
        return {
            **super().get_fields(),
            "from": serializers.DateField(required=False, source="first"),
            "to": serializers.DateField(required=False, source="last"),
            "as": serializers.ChoiceField(sorted(export.FORMATS), default="csv"),
        }


class SiteCursor(CursorPagination):
    ordering = ("name", "pk")


class SyncLogCursor(CursorPagination):
    ordering = ("-created_at", "-pk")


class IncidentCursor(CursorPagination):
    ordering = ("-opened_at", "-pk")


class IncidentQuery(serializers.Serializer):
    open = serializers.BooleanField(required=False, allow_null=True, default=None)
    site = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)


class MonitoredSiteViewSet(viewsets.ModelViewSet):
    """The monitored sites."""

    queryset = MonitoredSite.objects.sealed()
    serializer_class = MonitoredSiteSerializer
    pagination_class = SiteCursor

    @extend_schema(request=None, responses={202: dict[str, str]})
    @action(detail=True, methods=["post"])
    def sync(self, request: Request, pk: str) -> Response:
        """Have this site synced now, through QStash."""
        message_id = request_sync(
            [self.get_object().name], JobRun.Trigger.API, caller=request.user.get_username()
        )
        return Response({"message_id": message_id}, status=202)


class SyncLogViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """The runs of the sync, the newest first."""

    queryset = SyncLog.objects.all()
    serializer_class = SyncLogSerializer
    pagination_class = SyncLogCursor


class IncidentViewSet(viewsets.ReadOnlyModelViewSet):
    """Times in which a site failed, or our own network, the newest first."""

    queryset = (
        Incident.objects.select_related("site")
        .only(*(field.name for field in Incident._meta.concrete_fields), "site__name")
        .prefetch_related("events")
    )
    serializer_class = IncidentSerializer
    pagination_class = IncidentCursor

    @extend_schema(parameters=[IncidentQuery])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[Incident]:
        query = IncidentQuery(data=self.request.query_params)
        query.is_valid(raise_exception=True)
        incidents: QuerySet[Incident] = super().get_queryset()
        if (site := query.validated_data.get("site")) is not None:
            incidents = incidents.filter(site=site)
        if (is_open := query.validated_data["open"]) is not None:
            incidents = incidents.filter(closed_at__isnull=is_open)
        return incidents


class HistoryView(APIView):
    """The history of all sites, or of some, as a file."""

    @extend_schema(
        parameters=[
            OpenApiParameter("site", int, many=True, description="Ids; all sites without."),
            OpenApiParameter("by", str, enum=["day", "hour"], default="day"),
            OpenApiParameter("from", OpenApiTypes.DATE, description="The first day."),
            OpenApiParameter("to", OpenApiTypes.DATE, description="The last day, included."),
            OpenApiParameter("as", str, enum=sorted(export.FORMATS), default="csv"),
        ],
        responses={(200, "text/csv"): str, (200, "application/json"): OpenApiTypes.OBJECT},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        asked = ExportSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        wish = export.Wish(
            by=asked.validated_data["by"],
            site_ids=asked.validated_data.get("site"),
            first=asked.validated_data.get("first"),
            last=asked.validated_data.get("last"),
        )
        content_type, write = export.FORMATS[asked.validated_data["as"]]
        name = export.file_name(wish, asked.validated_data["as"])
        return StreamingHttpResponse(
            write(wish),
            content_type=content_type,
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def _readable_credentials(site: MonitoredSite) -> dict[str, str]:
    try:
        return site.open_credentials()
    except DecryptionFailed:
        return {}  # Those that the options need must be entered again.


def _at_field(field: str, clean: Any, *args: Any) -> Any:
    """Call a check and put its complaints below the field they are about."""
    try:
        return clean(*args)
    except ValidationError as error:
        raise serializers.ValidationError({field: error.message_dict}) from error
