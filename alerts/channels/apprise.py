"""Alerts over the services that Apprise knows (github.com/caronc/apprise), an optional extra."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from django import forms

from alerts.channels.base import ChannelError, ChannelKind, Message

#: Those that post to one fixed https address of a vendor. Apprise has requests of its own, past
#: sites/outbound, so an address must not be able to name a host, a file or a program of this machine.
SCHEMAS = {
    "discord": "Discord",
    "line": "LINE",
    "opsgenie": "Opsgenie",
    "pagerduty": "PagerDuty",
    "pbul": "Pushbullet",
    "pover": "Pushover",
    "prowl": "Prowl",
    "pushy": "Pushy",
    "slack": "Slack",
    "spush": "SimplePush",
    "tgram": "Telegram",
}
NOT_INSTALLED = "Apprise is not installed: pip install -r requirements-notify.txt."


class Secrets(forms.Form):
    address = forms.CharField(
        label="Apprise address",
        max_length=2000,
        help_text=f"Such as pover://user@token. Taken are {', '.join(SCHEMAS)}.",
    )

    def clean_address(self) -> str:
        """Refuse what could lead anywhere but to the vendor."""
        address: str = self.cleaned_data["address"].strip()
        schema, separator, rest = address.partition("://")
        if not separator or schema.lower() not in SCHEMAS:
            raise forms.ValidationError(f"The address must begin with one of {_prefixes()}.")
        if not rest.isprintable() or " " in rest:
            raise forms.ValidationError("An address has no blanks.")
        if "?" in rest:
            # `template` would read any file of this machine.
            raise forms.ValidationError("Parameters (what follows a ?) are not taken.")
        return f"{schema.lower()}://{rest}"


class AppriseAddress(ChannelKind):
    """One message; the service may know no id by which it would drop a repetition."""

    key = "apprise"
    name = "Apprise"
    description = (
        "Pushover, Pushbullet, PagerDuty and others, by an Apprise address (optional extra)."
    )
    Secrets = Secrets
    required = frozenset({"address"})

    def send(
        self, message: Message, options: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> None:
        apprise = _library()
        # What is stored has passed the form; a row may have been written past it.
        form = Secrets({"address": secrets["address"]})
        if not form.is_valid():
            raise ChannelError(str(form.errors["address"][0]))
        sender = apprise.Apprise()
        if not sender.add(form.cleaned_data["address"]):
            raise ChannelError("Apprise cannot read the address; see its page about the service.")
        if not sender.notify(title=message.title, body=f"{message.text}\n\n{message.url}"):
            raise ChannelError("The service did not take the message; check the address.")


def _library() -> ModuleType:
    try:
        return importlib.import_module("apprise")
    except ImportError as error:
        raise ChannelError(NOT_INSTALLED) from error


def _prefixes() -> str:
    return ", ".join(f"{schema}://" for schema in SCHEMAS)
