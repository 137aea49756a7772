"""Alerts as messages of a Telegram bot (core.telegram.org/bots/api#sendmessage)."""

import json
import re
from collections.abc import Mapping
from typing import Any

from django import forms

from alerts.channels.base import ChannelError, ChannelKind, Message, shortened
from alerts.channels.http import post
from sites.outbound import Answer

ADDRESS = "https://api.telegram.org"
#: Characters of a message, after the entities are parsed; there are none here.
LONGEST = 4096
_TOKEN = re.compile(r"\d{1,20}:[A-Za-z0-9_-]{10,100}")


class Options(forms.Form):
    chat_id = forms.RegexField(
        r"^(-?\d{1,20}|@\w{3,64})$",
        label="Chat",
        help_text="The number of a chat that the bot is in (groups begin with -), or @channel. "
        "After writing to the bot, /getUpdates of its API tells the number.",
        error_messages={"invalid": "This is a number, such as -1001234567890, or @channel."},
    )


class Secrets(forms.Form):
    token = forms.CharField(
        label="Token of the bot", max_length=200, help_text="From @BotFather, like 123456:ABC…."
    )

    def clean_token(self) -> str:
        """Refuse what is no token, since it becomes part of an address."""
        token: str = self.cleaned_data["token"].strip()
        if not _TOKEN.fullmatch(token):
            raise forms.ValidationError("This is no token of a bot: a number, a colon, letters.")
        return token


class Telegram(ChannelKind):
    """One message. The Bot API knows no id by which it would drop a repetition."""

    key = "telegram"
    name = "Telegram"
    description = "A message of your own bot, to you or to a group."
    Options = Options
    Secrets = Secrets
    required = frozenset({"token"})

    def __init__(self, address: str = ADDRESS) -> None:
        self._address = address

    def send(
        self, message: Message, options: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> None:
        body = {
            "chat_id": options["chat_id"],
            "text": f"{shortened(message.text, LONGEST - len(message.url) - 2)}\n\n{message.url}",
            "link_preview_options": {"is_disabled": True},
        }
        answer = post(
            f"{self._address}/bot{secrets['token']}/sendMessage",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        said = _read(answer)
        if answer.status != 200 or said.get("ok") is not True:
            raise _problem(answer, said)


def _read(answer: Answer) -> dict[str, Any]:
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _problem(answer: Answer, said: Mapping[str, Any]) -> ChannelError:
    if answer.status in (401, 404):
        return ChannelError("Telegram does not know the token; enter it again.")
    parameters = said.get("parameters")
    wait_s = parameters.get("retry_after") if isinstance(parameters, dict) else None
    why = str(said.get("description", ""))[:200] or f"status {answer.status}"
    return ChannelError(
        f"Telegram refuses: {why}.", retry_after_s=wait_s if isinstance(wait_s, int) else None
    )
