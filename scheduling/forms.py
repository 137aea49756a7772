"""The form of a schedule in the admin."""

import json
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.urls import reverse

from scheduling.cron import CronError, in_words
from scheduling.durations import DurationError, format_duration, parse_duration_s
from scheduling.headers import HeaderError, format_headers, parse_headers
from scheduling.models import ScheduledJob
from scheduling.registry import registry
from scheduling.tariffs import TARIFFS, messages_per_day, share_of, volume_of

MASK = "••••••"
STORED = "Stored, and never shown again: {masked}. A line here replaces or adds one; 'Name:' alone removes it."
NOT_STORED = "One 'Name: value' a line. Encrypted, and never shown again."


#: Offered while typing; any other expression may be typed as well.
CADENCES = (
    ("*/5 * * * * *", "every 5 seconds"),
    ("*/10 * * * * *", "every 10 seconds"),
    ("*/15 * * * * *", "every 15 seconds"),
    ("*/30 * * * * *", "every 30 seconds"),
    ("* * * * *", "every minute"),
    ("*/5 * * * *", "every 5 minutes"),
    ("*/10 * * * *", "every 10 minutes"),
    ("*/15 * * * *", "every 15 minutes"),
    ("*/30 * * * *", "every 30 minutes"),
    ("0 * * * *", "every hour"),
)


class CadenceInput(forms.TextInput):
    """A text field that offers the usual cadences and tells what the one in it costs.

    row: the id of the edited schedule, or "".
    """

    template_name = "scheduling/cadence.html"
    row: int | str = ""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, {**(attrs or {}), "list": f"{name}-cadences"})
        context["widget"]["cadences"] = [
            (cron, f"{words}: {messages_per_day(cron):,} messages a day")
            for cron, words in CADENCES
        ]
        cost_url = reverse("admin:scheduling_scheduledjob_cost")
        return {
            **context,
            "cost_url": f"{cost_url}?row={self.row}",
            **cost_context(value, self.row),
        }


def cost_context(cron: str | None, row: int | str) -> dict[str, Any]:
    """What a cadence costs on each plan, for scheduling/_cost.html; empty before one is typed.

    row: the id of the schedule that is to have it, or "" for a new one.
    """
    if not (cron and cron.strip()):
        return {}
    try:
        volume = volume_of(cron)
    except CronError as error:
        return {"problem": str(error)}
    others = ScheduledJob.objects.filter(enabled=True)
    if str(row).isdecimal():
        others = others.exclude(pk=int(row))
    crons = list(others.values_list("cron", flat=True))
    return {
        "words": in_words(cron),
        "volume": volume,
        "plans": [(tariff, *share_of(tariff, volume)) for tariff in TARIFFS.values()],
        "others": len(crons),
        "together": volume.per_day + sum(map(messages_per_day, crons)),
    }


class DurationField(forms.Field):
    """Seconds, written as 300, 300s or 5m."""

    widget = forms.TextInput

    def to_python(self, value: Any) -> int | None:
        if value in self.empty_values:
            return None
        try:
            return parse_duration_s(str(value))
        except DurationError as error:
            raise ValidationError(str(error), code="duration") from error

    def prepare_value(self, value: Any) -> Any:
        return format_duration(value) if isinstance(value, int) else value


class HeadersField(forms.Field):
    """Headers as lines of `Name: value`."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false"})

    def to_python(self, value: Any) -> dict[str, str]:
        try:
            return parse_headers(str(value or ""))
        except HeaderError as error:
            raise ValidationError(str(error), code="headers") from error

    def prepare_value(self, value: Any) -> Any:
        return format_headers(value) if isinstance(value, dict) else value


class ScheduledJobForm(forms.ModelForm):
    job_key = forms.ChoiceField(label="Job", required=False)
    timeout_s = DurationField(
        label="Timeout", help_text=ScheduledJob._meta.get_field("timeout_s").help_text
    )
    headers = HeadersField(
        required=False,
        help_text="One 'Name: value' a line. A job of this installation gets the Bearer secret by itself.",
    )
    secret_headers = HeadersField(required=False, help_text=NOT_STORED)

    class Meta:
        model = ScheduledJob
        fields = (
            "name", "key", "description", "enabled", "cron", "timezone", "job_key", "url", "method", "body",
            "headers", "retries", "retry_delay_ms", "timeout_s", "label", "callback_url", "failure_callback_url",
        )  # fmt: skip
        widgets = {"cron": CadenceInput(attrs={"class": "vTextField", "spellcheck": "false"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["job_key"].choices = [  # type: ignore[attr-defined]
            ("", "— an address —"),
            *((job.key, job.name) for job in registry.scheduled),
        ]
        self.fields["cron"].widget.row = self.instance.pk or ""
        # Django would write them as Get and Post.
        methods = [(method, method) for method in ScheduledJob.Method.values]
        self.fields["method"].choices = methods  # type: ignore[attr-defined]
        # An editable copy of stored secrets would put them into the page.
        self.initial.pop("secret_headers", None)
        if masked := ", ".join(f"{name}: {MASK}" for name in sorted(self.instance.secret_headers)):
            self.fields["secret_headers"].help_text = STORED.format(masked=masked)

    def clean_secret_headers(self) -> dict[str, str]:
        """Merge what was typed into what is stored; an empty value removes a header."""
        typed: dict[str, str] = self.cleaned_data["secret_headers"]
        replaced = {name.lower() for name in typed}
        kept = {
            name: value
            for name, value in self.instance.secret_headers.items()
            if name.lower() not in replaced
        }
        return kept | {name: value for name, value in typed.items() if value}

    def clean_body(self) -> str:
        body: str = self.cleaned_data["body"]
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if len(body.encode()) > limit:
            raise ValidationError(f"QStash takes a body of up to {limit} bytes.")
        return body

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if "secret_headers" in self.cleaned_data:
            # The model's field is not editable, so Django does not copy it.
            self.instance.secret_headers = self.cleaned_data["secret_headers"]


def pretty_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
