"""Alerts by e-mail, over the SMTP server of the settings."""

import contextlib
import smtplib
from collections.abc import Mapping
from email.utils import parseaddr
from typing import Any

from django import forms
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from alerts.channels.base import ChannelError, ChannelKind, Message

NOT_CONFIGURED = (
    "E-mail is not configured: set EMAIL_URL, for instance smtp+tls://USER:PASSWORD@HOST:587, "
    "and EMAIL_FROM."
)


class Options(forms.Form):
    to = forms.EmailField(
        label="Address",
        help_text="One person or list; make a channel for each, so that each is retried on its own.",
    )


class Email(ChannelKind):
    """One mail. Its Message-ID follows from the message, so that mailboxes know a repetition."""

    key = "email"
    name = "E-mail"
    description = "A mail over the SMTP server of EMAIL_URL."
    Options = Options

    def send(
        self, message: Message, options: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> None:
        if not settings.EMAIL_HOST:
            raise ChannelError(NOT_CONFIGURED)
        connection = get_connection()
        mail = EmailMessage(
            connection=connection,
            subject=" ".join(message.title.split()),
            body=f"{message.text}\n\n{message.url}\n",
            to=[options["to"]],
            headers={
                "Message-ID": f"<{message.id}@{_sender_domain()}>",
                # RFC 3834: no vacation notice is to answer it.
                "Auto-Submitted": "auto-generated",
            },
        )
        try:
            # Django leaves a connection open whose login failed.
            with contextlib.closing(connection):
                mail.send()
        except smtplib.SMTPException as error:
            raise ChannelError(_in_words(error)) from error
        except OSError as error:
            raise ChannelError(
                f"The mail server {settings.EMAIL_HOST} cannot be reached: "
                f"{error.strerror or type(error).__name__}."
            ) from error


def _sender_domain() -> str:
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "soloboard.invalid"


def _in_words(error: smtplib.SMTPException) -> str:
    server = f"The mail server {settings.EMAIL_HOST}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
        return f"{server} refuses the address: {code} {_line(text)}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        # Its text may repeat what was sent.
        return f"{server} refuses the user or the password of EMAIL_URL ({error.smtp_code})."
    if isinstance(error, smtplib.SMTPSenderRefused):
        return f"{server} refuses the sender {settings.DEFAULT_FROM_EMAIL}; set EMAIL_FROM."
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{server} answered {error.smtp_code} {_line(error.smtp_error)}"
    return f"{server} broke off: {type(error).__name__}."


def _line(text: bytes | str) -> str:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    return " ".join(shown.split())[:200]
