"""One attempt: the signed request to the destination, and what came back."""

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from qstash_server.envelope import Headers, canonical_name
from qstash_server.firewall import Firewall
from qstash_server.message import Message, Response
from qstash_server.signing import SigningKeys, sign

REGION = "EU-CENTRAL-1"
USER_AGENT = "Upstash-QStash"
# A connection that we keep longer than the destination does is closed under our hands, and the
# delivery on it fails. One second is below the keep-alive of the usual servers (gunicorn has 2 s).
KEEP_ALIVE_S = 1.0
CONNECT_TIMEOUT_S = 30.0
MAX_RESPONSE_BYTES = 1_048_576
MAX_HEADER_BYTES = 65_536  # of one header line, in requests and responses
_OWN_HEADERS = ("Content-Type", "User-Agent", "Accept", "Accept-Encoding")


class Courier:
    """Makes the HTTP calls. One per event loop; `close` it when done."""

    def __init__(self, *, keys: SigningKeys, longest_timeout_s: int, firewall: Firewall) -> None:
        """longest_timeout_s: a message's own timeout can only be shorter."""
        self.keys = keys
        self._firewall = firewall
        self._longest_timeout_s = longest_timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_OWN_HEADERS,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )

    async def close(self) -> None:
        await self._session.close()

    async def attempt(self, message: Message, now_ms: int) -> Response:
        """Call the destination once. Network failures and timeouts are a Response with status 0."""
        envelope = message.envelope
        # The list may have become shorter since the message was accepted.
        if not self._firewall.allows(envelope.url):
            return _failure("not on this server's list of destinations")
        timeout_s = self._longest_timeout_s
        if envelope.timeout_s is not None:
            timeout_s = min(timeout_s, envelope.timeout_s)
        headers = self._headers(message, now_ms)
        url = URL(envelope.url, encoded=True)
        if "Authorization" in headers and url.raw_user is not None:
            url = url.with_user(None)  # A forwarded header wins over user and password in the URL.
        try:
            async with self._session.request(
                envelope.method,
                url,
                data=envelope.body or None,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
            ) as response:
                return Response(
                    status=response.status,
                    headers=_headers_of(response),
                    body=await _read_capped(response),
                )
        except TimeoutError:
            return _failure(f"no answer within {timeout_s} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _failure(str(error) or type(error).__name__)

    def _headers(self, message: Message, now_ms: int) -> CIMultiDict[str]:
        envelope = message.envelope
        headers = CIMultiDict({"User-Agent": USER_AGENT})
        for name, values in envelope.headers.items():
            headers.pop(name, None)
            headers.extend((name, value) for value in values)
        # Assignment replaces what was forwarded under these names: they are the server's to say.
        headers["Upstash-Message-Id"] = message.id
        headers["Upstash-Retried"] = str(message.retried)
        headers["Upstash-Caller-Ip"] = envelope.caller_ip
        headers["Upstash-Region"] = REGION
        headers["Upstash-Signature"] = sign(
            key=self.keys.current, url=envelope.url, body=envelope.body, now_ms=now_ms
        )
        own = {"Upstash-Schedule-Id": message.schedule_id, "Upstash-Topic-Name": message.topic}
        for name, value in own.items():
            headers.pop(name, None)
            if value is not None:
                headers[name] = value
        return headers


def _failure(error: str) -> Response:
    return Response(status=0, headers={}, body=b"", error=error)


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    """Return at most MAX_RESPONSE_BYTES; what lies beyond is never read."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            response.close()
            break
    return bytes(body[:MAX_RESPONSE_BYTES])


def _headers_of(response: aiohttp.ClientResponse) -> Headers:
    headers: Headers = {}
    for name, value in response.headers.items():
        # Bytes that are not UTF-8 arrive as lone surrogates, which no JSON may hold.
        text = value.encode(errors="surrogateescape").decode(errors="replace")
        headers.setdefault(canonical_name(name), []).append(text)
    return headers
