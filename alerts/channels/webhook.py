"""Alerts as HTTP POST to any address, in the form that its receiver reads."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from django import forms

from alerts.channels.base import ChannelError, ChannelKind, Message, shortened
from alerts.channels.http import asked_wait_s, post
from sites.outbound import RequestRefused, parse_url

SIGNATURE_HEADER = "SoloBoard-Signature"
#: Of Discord's `content`, in characters.
LONGEST_FOR_DISCORD = 2000
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
#: Ours to set.
_TAKEN = {"content-length", "content-type", "host", "idempotency-key", "transfer-encoding"}


def _everything(message: Message) -> dict[str, Any]:
    """Slack reads `text`, Discord `content`, both leave the rest alone; programs read `events`."""
    return {
        "id": message.id,
        "title": message.title,
        "text": message.text,
        "content": shortened(message.text, LONGEST_FOR_DISCORD),
        "url": message.url,
        "events": list(message.events),
    }


def _as_json(message: Message) -> tuple[bytes, dict[str, str]]:
    return json.dumps(_everything(message)).encode(), {"Content-Type": "application/json"}


def _as_text(message: Message) -> tuple[bytes, dict[str, str]]:
    # ntfy takes the body as the message and reads where a click leads from a header.
    body = f"{message.text}\n\n{message.url}".encode()
    return body, {"Content-Type": "text/plain; charset=utf-8", "Click": message.url}


FORMS: dict[str, Callable[[Message], tuple[bytes, dict[str, str]]]] = {
    "json": _as_json,
    "text": _as_text,
}


class Options(forms.Form):
    format = forms.ChoiceField(
        choices=[("json", "JSON: Slack, Discord, programs"), ("text", "plain text: ntfy")],
        initial="json",
        help_text="The JSON has text (Slack), content (Discord), title, url, id and events.",
    )
    header = forms.CharField(
        label="Name of a secret header",
        initial="",
        required=False,
        max_length=100,
        help_text="Sent along with each call, such as Authorization; its value is below.",
    )

    def clean_header(self) -> str:
        """Refuse what is no name of a header, and those that are not free."""
        name: str = self.cleaned_data["header"].strip()
        if name and not _HEADER_NAME.fullmatch(name):
            raise forms.ValidationError("The name of a header has letters, digits and dashes.")
        if name.lower() in _TAKEN:
            raise forms.ValidationError("This header is set by SoloBoard itself.")
        return name


class Secrets(forms.Form):
    url = forms.CharField(
        label="Address",
        max_length=2000,
        help_text="The address of a webhook is often its only key, so it is kept as a secret.",
    )
    header_value = forms.CharField(
        label="Value of the secret header", required=False, max_length=2000
    )
    signing_key = forms.CharField(
        label="Signing key",
        required=False,
        max_length=200,
        help_text=f"With one, {SIGNATURE_HEADER} holds t=TIME,v1=HEX: the Unix time in seconds, and the "
        "HMAC-SHA256 of TIME, a dot, and the body.",
    )

    def clean_url(self) -> str:
        """Refuse what no request could be made to."""
        text: str = self.cleaned_data["url"].strip()
        try:
            return str(parse_url(text if "://" in text else f"https://{text}"))
        except RequestRefused as error:
            raise forms.ValidationError(f"{error}.") from error

    def clean_header_value(self) -> str:
        """Refuse what would end the header."""
        value: str = self.cleaned_data["header_value"]
        if not (value.isascii() and value.isprintable()):
            raise forms.ValidationError("A header holds printable ASCII characters.")
        return value


class Webhook(ChannelKind):
    """One POST. Its Idempotency-Key is the id of the message, the same at every attempt."""

    key = "webhook"
    name = "Webhook"
    description = "An HTTP POST: Slack, Discord, ntfy, or a program of your own."
    Options = Options
    Secrets = Secrets
    required = frozenset({"url"})

    def send(
        self, message: Message, options: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> None:
        body, headers = FORMS[options["format"]](message)
        headers["Idempotency-Key"] = message.id
        if options["header"] and secrets.get("header_value"):
            headers[options["header"]] = secrets["header_value"]
        if secrets.get("signing_key"):
            headers[SIGNATURE_HEADER] = sign(secrets["signing_key"], body, int(time.time()))
        answer = post(secrets["url"], body, headers)
        if not 200 <= answer.status < 300:
            raise ChannelError(
                f"{answer.url.host} answered {answer.status}; a status from 200 to 299 is expected.",
                retry_after_s=asked_wait_s(answer),
            )


def sign(key: str, body: bytes, at_s: int) -> str:
    """The value of the signature header for a body sent at this Unix time."""
    signed = f"{at_s}.".encode() + body
    return f"t={at_s},v1={hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()}"
