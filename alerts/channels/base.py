"""What a kind of channel is: its forms, and sending one message."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django import forms

#: For one message, all connections and answers together; well below the lease of a delivery.
SEND_LIMIT_S = 20.0


class ChannelError(Exception):
    """The message was not sent, as far as is known. The text is for the owner and holds no secret.

    retry_after_s: seconds that the service asked to wait, or None.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is sent.

    id: the same for every attempt, so that a receiver knows a repetition.
    title: one line. text: the title and everything else, in lines. url: where it can be looked at.
    events: the same in JSON values, for programs.
    """

    id: str
    title: str
    text: str
    url: str
    events: Sequence[Mapping[str, Any]] = field(default_factory=list)


class ChannelKind(ABC):
    """A kind of channel.

    description: one sentence for whoever chooses among the kinds.
    Options: what everybody may see. Its cleaned data are JSON values and are stored as they are.
    Secrets: every field is a string, stored encrypted and never shown again.
    required: the secrets without which nothing can be sent.
    """

    key: ClassVar[str]
    name: ClassVar[str]
    description: ClassVar[str]
    Options: ClassVar[type[forms.Form]] = forms.Form
    Secrets: ClassVar[type[forms.Form]] = forms.Form
    required: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def send(
        self, message: Message, options: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> None:
        """Send the message, and return once the receiver has taken it. Raises ChannelError."""

    def options(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Complete stored options by the defaults of the fields that they do not mention."""
        return {
            name: stored.get(name, form_field.initial)
            for name, form_field in self.Options.base_fields.items()
        }


def shortened(text: str, limit: int) -> str:
    """Cut a text that is longer than a service takes, at a line where there is one."""
    if len(text) <= limit:
        return text
    head = text[: limit - 2]
    at = head.rfind("\n")
    return f"{head[:at] if at > 0 else head}\n…"
