from collections.abc import Iterator

import pytest
from pytest_django import Settings

from alerts.channels.base import ChannelError, Message
from alerts.channels.email import Email
from tests.alerts.mailbox import Mailbox

OPTIONS = {"to": "founder@example.com"}


@pytest.fixture
def mailbox(settings: Settings) -> Iterator[Mailbox]:
    # Tests of Django send no mail unless they say so.
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.DEFAULT_FROM_EMAIL = "SoloBoard <board@example.org>"
    with Mailbox() as mailbox:
        settings.EMAIL_PORT = mailbox.port
        yield mailbox


def test_a_mail_has_an_id_that_follows_from_the_message(mailbox: Mailbox, message: Message) -> None:
    Email().send(message, OPTIONS, {})
    Email().send(message, OPTIONS, {})
    first, second = mailbox.mails
    assert first["Message-ID"] == second["Message-ID"] == f"<{message.id}@example.org>"
    assert first["Subject"] == message.title
    assert first["Auto-Submitted"] == "auto-generated"
    assert first.get_content().split() == f"{message.text} {message.url}".split()
    assert mailbox.recipients[0] == ["founder@example.com"]


def test_a_line_break_in_a_name_adds_no_header(mailbox: Mailbox, message: Message) -> None:
    sly = Message(id=message.id, title="shop\nBcc: other@example.com", text="", url="")
    Email().send(sly, OPTIONS, {})
    assert mailbox.mails[0]["Subject"] == "shop Bcc: other@example.com"
    assert mailbox.mails[0]["Bcc"] is None


def test_without_a_server_it_says_which_setting_is_missing(
    settings: Settings, message: Message
) -> None:
    settings.EMAIL_HOST = ""
    with pytest.raises(ChannelError, match="set EMAIL_URL"):
        Email().send(message, OPTIONS, {})


def test_a_server_that_refuses_is_quoted(mailbox: Mailbox, message: Message) -> None:
    mailbox.refusal = "554 Looks like spam"
    with pytest.raises(ChannelError, match="answered 554 Looks like spam"):
        Email().send(message, OPTIONS, {})


def test_a_server_that_is_away_is_named(
    mailbox: Mailbox, message: Message, settings: Settings
) -> None:
    settings.EMAIL_PORT = 1
    with pytest.raises(ChannelError, match=r"127.0.0.1 cannot be reached: Connection refused"):
        Email().send(message, OPTIONS, {})


def test_a_password_for_a_server_without_login_is_not_repeated(
    mailbox: Mailbox, message: Message, settings: Settings
) -> None:
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "board", "made-up-password"
    with pytest.raises(ChannelError) as caught:
        Email().send(message, OPTIONS, {})
    assert "made-up-password" not in str(caught.value)
    assert mailbox.mails == []
