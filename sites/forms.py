"""The form of a site in the admin: its own fields, then those of its platform."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError

from encryption.keyring import DecryptionFailed
from sites.borrowed_fields import STORED, borrowed, borrowed_secrets, typed
from sites.configuration import clean_credentials, clean_options
from sites.models import MonitoredSite
from sites.platforms.base import Platform

OPTION = "option_"
CREDENTIAL = "credential_"
#: The name of the button 'Test connection'.
TRY = "_test"
THRESHOLDS = ("failures_to_open", "successes_to_close")
UNREADABLE = (
    "What is stored needs a key that SOLOBOARD_SECRET_KEYS does not hold. "
    "Add the key there, or enter all credentials again."
)


class MonitoredSiteForm(forms.ModelForm):
    """Made for one platform by `form_for`, which adds a field for each of its options and
    credentials.
    """

    platform: ClassVar[Platform]

    forget_credentials = forms.BooleanField(
        required=False, help_text="Delete what is stored and start with what is typed here."
    )

    class Meta:
        model = MonitoredSite
        fields = ("name", "timezone", "enabled", *THRESHOLDS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.platform.options(self.instance.options).items():
            self.initial.setdefault(OPTION + name, value)
        for name in THRESHOLDS:
            self.fields[name].required = False
        self._stored = self._open_credentials()
        if not self.instance.has_credentials:
            del self.fields["forget_credentials"]

    def _open_credentials(self) -> dict[str, str]:
        """The stored credentials; the help texts of their fields tell about them."""
        try:
            stored: dict[str, str] = self.instance.open_credentials()
        except DecryptionFailed:
            self._explain([name for name in self.fields if name.startswith(CREDENTIAL)], UNREADABLE)
            return {}
        self._explain([CREDENTIAL + name for name in stored], STORED)
        return stored

    def _explain(self, names: Iterable[str], help_text: str) -> None:
        for name in names:
            if field := self.fields.get(name):
                field.help_text = help_text

    def is_valid(self) -> bool:
        # What is posted in order to be tried is never saved, whoever asks.
        return super().is_valid() and TRY not in self.data

    @property
    def can_be_tried(self) -> bool:
        """Whether `instance` now has what a fetch needs; a name may come later."""
        return not set(self.errors) - {"name"}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        self.instance.platform = self.platform.key
        for name in THRESHOLDS:
            # An empty one stays as it is.
            if cleaned.get(name) is None:
                cleaned[name] = getattr(self.instance, name)
        options = self._take(OPTION, lambda: clean_options(self.platform, typed(self, OPTION)))
        if options is None:
            return cleaned
        forgets = bool(cleaned.get("forget_credentials"))
        stored = {} if forgets else self._stored
        credentials = self._take(
            CREDENTIAL,
            lambda: clean_credentials(self.platform, options, typed(self, CREDENTIAL), stored),
        )
        if credentials is None:
            return cleaned
        self.instance.options = options
        if forgets or credentials != self._stored:
            self.instance.credentials = credentials
        # What was wrong with the old settings says nothing of the new ones, so the site is due at
        # once.
        self.instance.not_before = None
        return cleaned

    def _take(self, prefix: str, clean: Any) -> Any:
        """Call a check and show its complaints at the fields they are about; None when there were
        some.
        """
        try:
            return clean()
        except ValidationError as error:
            for name, messages in error.message_dict.items():
                field = None if name == NON_FIELD_ERRORS else prefix + name
                # What a field says by itself has been said already.
                if field not in self.errors:
                    self.add_error(field, messages)
        return None


def form_for(platform: Platform) -> type[MonitoredSiteForm]:
    """Make the form class for sites of one platform."""
    fields = {
        **borrowed(OPTION, platform.Options.base_fields),
        # Whether one is needed depends on the options, too.
        **borrowed_secrets(CREDENTIAL, platform.Credentials.base_fields),
    }
    return type("SiteForm", (MonitoredSiteForm,), {**fields, "platform": platform})
