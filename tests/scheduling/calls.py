"""Calls of the webhooks over real HTTP, QStash's deliveries among them."""

import json
import re
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
from django.conf import settings

from qstash_server.signing import sign

#: Where the job of these tests is called; see urls.py beside this file.
PATH = "/api/tests/work"
#: Far above anything a test waits for, far below what would look like a hang.
TIMEOUT_S = 60
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Calls:
    """A client of one server that remembers what it was answered and follows no redirect."""

    def __init__(self, address: str) -> None:
        # Neither the machine's proxies nor its certificates are for a server on the loopback, and
        # reading them takes longer than most tests.
        no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx2.Client(
            base_url=address,
            headers={"Host": urlsplit(settings.APP_URL).netloc},  # as a proxy in front says it
            timeout=TIMEOUT_S,
            trust_env=False,
            verify=no_certificates,
        )
        self.answers: list[httpx2.Response] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def call(
        self,
        method: str = "POST",
        path: str = PATH,
        *,
        body: bytes | Mapping[str, Any] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Call without any credential but what the headers carry."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self._http.request(method, path, content=content, headers=headers)
        self.answers.append(answer)
        return answer

    def with_secret(
        self, method: str = "POST", path: str = PATH, *, body: bytes | Mapping[str, Any] = b""
    ) -> httpx2.Response:
        """Call with the Bearer secret."""
        return self.call(method, path, body=body, headers=bearer())

    def deliver(
        self,
        message_id: str,
        method: str = "POST",
        path: str = PATH,
        *,
        body: bytes | Mapping[str, Any] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """Call as QStash does; a header that is given wins over what a good delivery carries."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {
            "User-Agent": "Upstash-QStash",
            "Upstash-Message-Id": message_id,
            "Upstash-Retried": "0",
            "Upstash-Signature": signature(content, path=path),
            **(headers or {}),
        }
        return self.call(method, path, body=content, headers=sent)


def bearer(secret: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {settings.CRON_SECRET if secret is None else secret}"}


def signature(
    body: bytes = b"", *, path: str = PATH, key: str | None = None, age_s: float = 0
) -> str:
    """A good signature, unless it is of another key or too old."""
    return sign(
        key=key or settings.QSTASH_CURRENT_SIGNING_KEY,
        url=settings.APP_URL + path,
        body=body,
        now_ms=round((time.time() - age_s) * 1000),
    )


def error_of(answer: httpx2.Response) -> str:
    """The message of an error, whose whole shape is looked at."""
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert body["success"] is False
    assert TIMESTAMP.fullmatch(body["timestamp"])
    return str(body["error"])
