"""Schedules and their runs for staff, over the browsable API."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from scheduling import sync
from scheduling.models import JobRun, ScheduledJob
from scheduling.tariffs import messages_per_day
from scheduling.validators import validate_headers


class ScheduledJobSerializer(serializers.ModelSerializer):
    """secret_headers: written only. Sent, they replace all that are stored; `secret_header_names`
    tells which.
    """

    secret_headers = serializers.DictField(
        child=serializers.CharField(),
        write_only=True,
        required=False,
        validators=[validate_headers],
    )
    secret_header_names = serializers.SerializerMethodField()
    schedule_id = serializers.CharField(read_only=True)
    is_pushed = serializers.BooleanField(read_only=True)
    next_fire_times = serializers.SerializerMethodField()
    messages_per_day = serializers.SerializerMethodField()

    class Meta:
        model = ScheduledJob
        fields = [
            "key", "name", "description", "job_key", "url", "method", "headers", "secret_headers",
            "secret_header_names", "body", "cron", "timezone", "retries", "retry_delay_ms", "timeout_s",
            "callback_url", "failure_callback_url", "label", "enabled", "schedule_id", "is_pushed", "push_status",
            "push_error", "pushed_at", "next_fire_times", "messages_per_day",
            "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = ["push_status", "push_error", "pushed_at"]

    def get_secret_header_names(self, job: ScheduledJob) -> list[str]:
        return sorted(job.secret_headers)

    def get_next_fire_times(self, job: ScheduledJob) -> list[str]:
        return [instant.isoformat() for instant in job.next_fire_times(3)]

    def get_messages_per_day(self, job: ScheduledJob) -> int:
        """Of the cadence at QStash, without retries; 0 while it is paused."""
        return messages_per_day(job.cron) if job.enabled else 0

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        # The rules of the model, so that the API and the admin refuse the same things in the same
        # words.
        row = ScheduledJob(pk=self.instance.pk) if self.instance else ScheduledJob()
        for field in ScheduledJob._meta.concrete_fields:
            if self.instance and field.attname in self.instance.__dict__:
                setattr(row, field.attname, getattr(self.instance, field.attname))
        for name, value in attrs.items():
            setattr(row, name, value)
        row.full_clean(validate_unique=False)
        return attrs

    def to_representation(self, instance: ScheduledJob) -> dict[str, Any]:
        # A push wrote its outcome past this instance.
        instance.refresh_from_db()
        return super().to_representation(instance)


class JobRunSerializer(serializers.ModelSerializer):
    class Meta:
        model = JobRun
        fields = [
            "id", "job_key", "trigger", "caller", "message_id", "schedule_id", "attempt", "status", "started_at",
            "finished_at", "duration_ms", "counts", "error",
        ]  # fmt: skip


class RunCursor(CursorPagination):
    ordering = ("-started_at", "-id")


class JobCursor(CursorPagination):
    ordering = "key"


class ScheduledJobViewSet(viewsets.ModelViewSet):
    """The schedules. Whatever is saved here reaches QStash as from the admin."""

    queryset = ScheduledJob.objects.order_by("key")
    serializer_class = ScheduledJobSerializer
    pagination_class = JobCursor
    lookup_field = "key"

    @extend_schema(request=None, responses={202: dict[str, str]})
    @action(detail=True, methods=["post"])
    def run(self, request: Request, key: str) -> Response:
        """Have QStash call the job once, now."""
        message_id = sync.publish_run(
            self.get_object(), JobRun.Trigger.API, caller=request.user.get_username()
        )
        return Response({"message_id": message_id}, status=202)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, key: str) -> Response:
        """Stop the schedule without losing it."""
        return self._set_enabled(enabled=False)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, key: str) -> Response:
        """Let a paused schedule fire again."""
        return self._set_enabled(enabled=True)

    def _set_enabled(self, *, enabled: bool) -> Response:
        job = self.get_object()
        job.enabled = enabled
        job.save(update_fields=["enabled", "updated_at"])
        return Response(self.get_serializer(job).data)


class JobRunViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Every execution, the newest first. Filter with ?job= and ?status=."""

    queryset = JobRun.objects.all()
    serializer_class = JobRunSerializer
    pagination_class = RunCursor

    def get_queryset(self) -> Any:
        runs = super().get_queryset()
        if job_key := self.request.query_params.get("job"):
            runs = runs.filter(job_key=job_key)
        if status := self.request.query_params.get("status"):
            if status not in JobRun.Status.values:
                raise serializers.ValidationError(
                    {"status": f"One of {', '.join(JobRun.Status.values)}."}
                )
            runs = runs.filter(status=status)
        return runs
