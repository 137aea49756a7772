"""Against a fake of the Bot API (core.telegram.org/bots/api#making-requests)."""

import json

import pytest

from alerts.channels.base import ChannelError, Message
from alerts.channels.telegram import LONGEST, Options, Secrets, Telegram
from tests.sites.loopback import http
from tests.sites.website import Website

# Told apart from a real one by anybody: a number and the letter a.
TOKEN = "1:" + "a" * 35
PATH = f"/bot{TOKEN}/sendMessage"
OPTIONS = {"chat_id": "-100200300"}


def answer(status: int = 200, **body: object) -> bytes:
    return http(json.dumps(body), status=status, headers={"Content-Type": "application/json"})


def test_a_message_is_sent_to_the_chat(receiver: Website, message: Message) -> None:
    receiver.pages[PATH] = answer(ok=True, result={"message_id": 7})
    Telegram(receiver.url("")).send(message, OPTIONS, {"token": TOKEN})
    (request,) = receiver.requests
    body = json.loads(request.body)
    assert request.target == PATH
    assert body["chat_id"] == "-100200300"
    assert body["text"] == f"{message.text}\n\n{message.url}"


def test_a_long_digest_is_cut_and_keeps_its_link(receiver: Website, message: Message) -> None:
    receiver.pages[PATH] = answer(ok=True)
    long = Message(id=message.id, title="t", text="line\n" * 2000, url=message.url)
    Telegram(receiver.url("")).send(long, OPTIONS, {"token": TOKEN})
    text = json.loads(receiver.requests[0].body)["text"]
    assert len(text) <= LONGEST
    assert text.endswith(f"line\n…\n\n{message.url}")


@pytest.mark.parametrize(
    ("said", "words", "wait_s"),
    [
        (answer(401, ok=False, error_code=401, description="Unauthorized"), "does not know the token", None),
        (answer(400, ok=False, error_code=400, description="Bad Request: chat not found"),
         "Bad Request: chat not found", None),
        (answer(429, ok=False, error_code=429, description="Too Many Requests: retry after 35",
                parameters={"retry_after": 35}), "Too Many Requests", 35),
        (answer(200, ok=False, description="strange"), "strange", None),
        (http("<html>", status=502), "status 502", None),
        (http("[" * 5000), "status 200", None),
    ],
)  # fmt: skip
def test_what_telegram_refuses_is_told_without_the_token(
    receiver: Website, message: Message, said: bytes, words: str, wait_s: int | None
) -> None:
    receiver.pages[PATH] = said
    with pytest.raises(ChannelError, match=words) as caught:
        Telegram(receiver.url("")).send(message, OPTIONS, {"token": TOKEN})
    assert caught.value.retry_after_s == wait_s
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", ["", "abc", "1:a/../../x" + "a" * 20, f"{TOKEN}?x=1"])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert "token" in Secrets({"token": token}).errors


@pytest.mark.parametrize(("chat_id", "is_valid"), [
    ("123", True), ("-100123", True), ("@alerts", True), ("alerts", False), ("1 2", False),
])  # fmt: skip
def test_a_chat_is_a_number_or_a_channel(chat_id: str, is_valid: bool) -> None:
    assert Options({"chat_id": chat_id}).is_valid() is is_valid
