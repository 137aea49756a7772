"""The real library; nothing leaves this machine, because requests is stopped at its door."""

import sys
from typing import Any

import pytest
import requests

from alerts.channels.apprise import SCHEMAS, AppriseAddress, Secrets
from alerts.channels.base import ChannelError, Message

# The library loads modules that Python 3.11 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ADDRESS = "pover://" + "u" * 30 + "@" + "t" * 30


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What would have been posted, and an answer of 200 to it."""
    made: list[tuple[str, Any]] = []

    def send(self: Any, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        made.append((str(request.url), request.body))
        answer = requests.Response()
        answer.status_code = 200
        answer._content = b'{"status": 1}'
        return answer

    monkeypatch.setattr(requests.Session, "send", send)
    return made


def test_a_message_goes_to_the_vendor_of_the_address(posts: list[Any], message: Message) -> None:
    AppriseAddress().send(message, {}, {"address": ADDRESS})
    ((url, body),) = posts
    assert url.startswith("https://api.pushover.net/")
    assert "no+answer" in str(body)


@pytest.mark.parametrize(
    "address",
    [
        "json://127.0.0.1/", "syslog://", "file:///etc/passwd", "https://example.com/", "dbus://",
        "windows://", "mailto://127.0.0.1", "ntfy://127.0.0.1/topic", "slack", "",
        "discord://1/2?template=/etc/passwd", "tgram://1/2 tgram://3/4", "tgram://1/\n2",
    ],
)  # fmt: skip
def test_what_could_reach_this_machine_is_refused_by_the_form_and_once_more_when_sending(
    posts: list[Any], message: Message, address: str
) -> None:
    assert "address" in Secrets({"address": address}).errors
    with pytest.raises(ChannelError):
        AppriseAddress().send(message, {}, {"address": address})
    assert posts == []


def test_each_schema_that_is_taken_is_one_that_the_library_knows() -> None:
    from apprise.plugins import N_MGR

    assert all(schema in N_MGR for schema in SCHEMAS)


def test_an_address_that_the_library_cannot_read_is_an_error_without_it(
    posts: list[Any], message: Message
) -> None:
    with pytest.raises(ChannelError, match="cannot read the address") as caught:
        AppriseAddress().send(message, {}, {"address": "pover://"})
    assert "pover" not in str(caught.value)


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, message: Message
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ChannelError, match=r"pip install -r requirements-notify\.txt"):
        AppriseAddress().send(message, {}, {"address": ADDRESS})
