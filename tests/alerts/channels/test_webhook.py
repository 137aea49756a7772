import hashlib
import hmac
import json

import pytest

from alerts.channels.base import ChannelError, Message
from alerts.channels.webhook import Secrets, Webhook, sign
from tests.sites.loopback import http
from tests.sites.website import Website

OPTIONS = Webhook().options({})


def test_json_has_what_slack_discord_and_programs_read(receiver: Website, message: Message) -> None:
    Webhook().send(message, OPTIONS, {"url": receiver.url("/hook?key=1")})
    (request,) = receiver.requests
    assert (request.method, request.target) == ("POST", "/hook?key=1")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == message.id
    assert json.loads(request.body) == {
        "id": message.id,
        "title": message.title,
        "text": message.text,
        "content": message.text,
        "url": message.url,
        "events": message.events,
    }


def test_what_is_too_long_for_discord_is_cut_for_discord_alone(
    receiver: Website, message: Message
) -> None:
    long = Message(id=message.id, title="t", text="line\n" * 900, url="")
    Webhook().send(long, OPTIONS, {"url": receiver.url()})
    body = json.loads(receiver.requests[0].body)
    assert len(body["content"]) <= 2000
    assert body["content"].endswith("line\n…")
    assert body["text"] == long.text


def test_plain_text_is_for_ntfy(receiver: Website, message: Message) -> None:
    Webhook().send(message, {**OPTIONS, "format": "text"}, {"url": receiver.url("/topic")})
    (request,) = receiver.requests
    assert request.body.decode() == f"{message.text}\n\n{message.url}"
    assert request.headers["click"] == message.url


def test_a_signature_and_a_secret_header_go_along(receiver: Website, message: Message) -> None:
    secrets = {
        "url": receiver.url(),
        "signing_key": "made-up-key",
        "header_value": "Bearer made-up",
    }
    Webhook().send(message, {**OPTIONS, "header": "Authorization"}, secrets)
    (request,) = receiver.requests
    assert request.headers["authorization"] == "Bearer made-up"
    time_part, signature = request.headers["soloboard-signature"].split(",v1=")
    signed = time_part.removeprefix("t=").encode() + b"." + request.body
    expected = hmac.new(b"made-up-key", signed, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(signature, expected)


def test_a_known_signature() -> None:
    # printf '1.{}' | openssl dgst -sha256 -hmac key
    assert (
        sign("key", b"{}", 1)
        == "t=1,v1=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
    )


@pytest.mark.parametrize("status", [301, 400, 404, 500])
def test_another_status_than_2xx_is_an_error_that_names_the_host_and_not_the_address(
    receiver: Website, message: Message, status: int
) -> None:
    receiver.pages["/very-secret"] = http("x", status=status, headers={"Location": "/elsewhere"})
    with pytest.raises(ChannelError, match=f"127.0.0.1 answered {status}") as caught:
        Webhook().send(message, OPTIONS, {"url": receiver.url("/very-secret")})
    assert "very-secret" not in str(caught.value)
    assert receiver.paths == ["/very-secret"]


def test_the_wait_that_is_asked_for_is_handed_on(receiver: Website, message: Message) -> None:
    receiver.pages["/"] = http("x", status=429, headers={"Retry-After": "120"})
    with pytest.raises(ChannelError) as caught:
        Webhook().send(message, OPTIONS, {"url": receiver.url()})
    assert caught.value.retry_after_s == 120


def test_a_private_address_is_not_reached(message: Message) -> None:
    with pytest.raises(ChannelError, match="ALLOWED_PRIVATE_NETWORKS"):
        Webhook().send(message, OPTIONS, {"url": "http://127.0.0.1:9/"})


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"format": "json", "header": "Bad Name"}, "header"),
        ({"format": "json", "header": "idempotency-key"}, "header"),
        ({"format": "xml"}, "format"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, str], field: str) -> None:
    assert set(Webhook.Options(options).errors) == {field}


@pytest.mark.parametrize(
    ("secrets", "field"),
    [
        ({"url": "ftp://x.example"}, "url"),
        ({"url": "https://user:word@x.example/"}, "url"),
        ({"url": "https://x.example", "header_value": "a\nb: c"}, "header_value"),
        ({}, "url"),
    ],
)
def test_secrets_that_cannot_work_are_refused_and_not_repeated(
    secrets: dict[str, str], field: str
) -> None:
    errors = Secrets(secrets).errors
    assert set(errors) == {field}
    assert "word" not in str(errors).replace("password", "")
