"""The forms of rules and channels in the admin: their own fields, then those of their kind."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms

from alerts.channels.base import ChannelKind
from alerts.models import AlertRule, Channel
from alerts.rules.base import RuleKind
from encryption.keyring import DecryptionFailed
from sites.borrowed_fields import STORED, borrowed, borrowed_secrets, typed
from sites.models import MonitoredSite

OPTION = "option_"
SECRET = "secret_"  # noqa: S105 - the beginning of names of fields
UNREADABLE = (
    "What is stored needs a key that SOLOBOARD_SECRET_KEYS does not hold. "
    "Add the key there, or enter all secrets again."
)


class KindForm(forms.ModelForm):
    """Made for one kind by a function below, which adds a field for each option of the kind."""

    kind: ClassVar[RuleKind[Any] | ChannelKind]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.kind.options(self.instance.options).items():
            self.initial.setdefault(OPTION + name, value)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.instance.kind = self.kind.key
        options = self.clean_part(OPTION, self.kind.Options(typed(self, OPTION)))
        if options is not None:
            self.instance.options = options
        return cleaned

    def clean_part(self, prefix: str, form: forms.Form) -> dict[str, Any] | None:
        """The cleaned data of the kind's own form; None when it complains, which then shows at the
        fields with the prefix.
        """
        if form.is_valid():
            return form.cleaned_data
        for name, errors in form.errors.items():
            field = prefix + name
            # What a field says by itself has been said already.
            if field not in self.errors:
                self.add_error(field if field in self.fields else None, list(errors))
        return None


class RuleForm(KindForm):
    class Meta:
        model = AlertRule
        fields = (
            "name", "enabled", "site", "channels", "cooldown_minutes", "remind_minutes",
            "tells_recovery", "ignores_quiet_hours",
        )  # fmt: skip
        widgets: ClassVar[Mapping[str, forms.Widget]] = {"channels": forms.CheckboxSelectMultiple()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields.get("site")  # A rule about the installation has none.
        if isinstance(field, forms.ModelChoiceField):
            # One whose key is missing must not hide the others.
            field.queryset = MonitoredSite.objects.sealed()


class ChannelForm(KindForm):
    kind: ClassVar[ChannelKind]

    class Meta:
        model = Channel
        fields = ("name", "enabled", "quiet_from", "quiet_until", "timezone", "digest_above")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        try:
            self._stored = self.instance.open_secrets()
            help_texts = dict.fromkeys(self._stored, STORED)
        except DecryptionFailed:
            self._stored = {}
            help_texts = dict.fromkeys(self.kind.Secrets.base_fields, UNREADABLE)
        for name, help_text in help_texts.items():
            if field := self.fields.get(SECRET + name):
                field.help_text = help_text

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        # An empty field keeps what is stored, so the kind's own form is given both.
        entered = {name: value for name, value in typed(self, SECRET).items() if value}
        form = self.kind.Secrets({**self._stored, **entered})
        secrets = self.clean_part(SECRET, form)
        if secrets is not None:
            given = {name: value for name, value in secrets.items() if value}
            if given != self._stored:
                self.instance.secrets = given
        return cleaned


def rule_form(kind: RuleKind[Any]) -> type[RuleForm]:
    """Make the form class for rules of one kind."""
    fields = borrowed(OPTION, kind.Options.base_fields)
    return type("RuleFormOfKind", (RuleForm,), {**fields, "kind": kind})


def channel_form(kind: ChannelKind) -> type[ChannelForm]:
    """Make the form class for channels of one kind. Whether a secret is needed depends on what is
    stored, so its own form says it.
    """
    fields = {
        **borrowed(OPTION, kind.Options.base_fields),
        **borrowed_secrets(SECRET, kind.Secrets.base_fields),
    }
    return type("ChannelFormOfKind", (ChannelForm,), {**fields, "kind": kind})
