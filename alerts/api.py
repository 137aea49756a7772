"""Alerts for staff, over the browsable API; only to be looked at."""

from rest_framework import mixins, serializers, viewsets
from rest_framework.pagination import CursorPagination

from alerts.models import Alert, AlertEvent


class AlertEventSerializer(serializers.ModelSerializer):
    class Meta:
        model = AlertEvent
        fields = ["kind", "at", "reason"]


class AlertSerializer(serializers.ModelSerializer):
    """An alert with its timeline. closed_at: null while it is open."""

    rule = serializers.CharField(source="rule.name")
    kind = serializers.CharField(source="rule.kind")
    site = serializers.CharField(source="site.name", default=None, allow_null=True)
    events = AlertEventSerializer(many=True)

    class Meta:
        model = Alert
        fields = [
            "id", "rule", "kind", "site", "subject", "reason", "opened_at", "closed_at", "events",
        ]  # fmt: skip


class AlertCursor(CursorPagination):
    ordering = ("-opened_at", "-pk")


class AlertViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """The alerts, the newest first."""

    queryset = Alert.objects.with_names().prefetch_related("events")
    serializer_class = AlertSerializer
    pagination_class = AlertCursor
