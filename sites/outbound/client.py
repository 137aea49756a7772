"""The HTTP client for hosts that a user named.

Built on httpx2 for URLs and content decoding. httpx2's own client is not used: it logs whole URLs,
keys in query parameters included, it keeps one cookie jar for all hosts, and to another origin it
drops only the Authorization header.
"""

import asyncio
import functools
import math
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

import h11
import httpx2

from sites.outbound.addresses import AddressRules, Network, Resolver, is_public, resolve
from sites.outbound.connections import Connection, Origin, connect, speak
from sites.outbound.errors import (
    BrokenAnswer,
    ConnectFailed,
    RequestRefused,
    TimedOut,
)

MAX_BODY_BYTES = 2_000_000
MAX_REDIRECTS = 5

# A name, an IPv4 address or, with colons, an IPv6 one and its zone; httpx2 escapes what is neither.
_HOST = re.compile(rb"[a-z0-9._-]+|[0-9a-f:.]+(%25\w+)?")

_HEADERS = {"User-Agent": "SoloBoard", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A host's final answer, after redirects.

    latency_ms: from the start of the request until the headers of the final answer were in, with
        everything on the way: name look-up, connecting, TLS, redirects. The body is not in it.
    body: decoded; cut at the limit of the request, and then `truncated` is true.
    tls_expires_at: UTC; end of the certificate of the connection used; None over plain HTTP.
    """

    url: httpx2.URL = field(repr=False)
    status: int
    headers: httpx2.Headers = field(repr=False)
    body: bytes = field(repr=False)
    truncated: bool
    latency_ms: int
    tls_expires_at: datetime | None

    @property
    def text(self) -> str:
        """The body in the charset that the host named (UTF-8 otherwise), never failing."""
        return httpx2.Response(
            self.status,
            headers={"Content-Type": self.headers.get("Content-Type", "")},
            content=self.body,
        ).text


@functools.cache
def _system_authorities() -> ssl.SSLContext:
    # Reading them takes as long as a hundred requests, and is the same for every sync.
    return httpx2.create_ssl_context(trust_env=False)


class Outbound:
    """What may be reached and which certificates are trusted; makes one client per fetch.

    allowed_networks: private networks that may be reached, on any port.
    allowed_ports: ports of public hosts that may be reached besides 80 and 443.
    ssl_context: by default the system's certificate authorities.
    """

    def __init__(
        self,
        *,
        allowed_networks: Collection[Network] = (),
        allowed_ports: Collection[int] = (),
        ssl_context: ssl.SSLContext | None = None,
        resolve: Resolver = resolve,
    ) -> None:
        self._rules = AddressRules(
            allowed_networks=allowed_networks, allowed_ports=allowed_ports, resolve=resolve
        )
        self._ssl_context = ssl_context or _system_authorities()
        self._ssl_context.set_alpn_protocols(["http/1.1"])

    def client(self, *, timeout_s: float) -> "Client":
        """Return a client whose requests together may take `timeout_s` seconds."""
        return Client(self._rules, self._ssl_context, timeout_s)


class Client:
    """The requests of one fetch, under one deadline; an async context manager.

    Connections are kept between the requests of one client, for paging, and never shared between
    two: the first request of a client always looks up, connects and shakes hands afresh.

    turn: makes what is entered before each request and left after it; whoever must not ask too much
        of a host waits there. It may raise what it likes.
    """

    turn: Callable[[], AbstractAsyncContextManager[None]] = staticmethod(nullcontext)

    def __init__(self, rules: AddressRules, ssl_context: ssl.SSLContext, timeout_s: float) -> None:
        self._rules = rules
        self._ssl_context = ssl_context
        self._deadline_s = asyncio.get_running_loop().time() + timeout_s
        self._connections: list[Connection] = []
        #: Whether any host on the internet has begun to answer; None while none was asked.
        self.internet_answered: bool | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.close()

    @property
    def left_s(self) -> float:
        """Seconds until this client's deadline, 0 after it."""
        return max(0.0, self._deadline_s - asyncio.get_running_loop().time())

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        follow_redirects: bool = True,
        timeout_s: float = math.inf,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> Answer:
        """Send one request and return its final answer, whatever its status.

        headers: sent to the URL's own origin only, since any of them may be a credential.
        follow_redirects: for GET and HEAD, up to five times; never for other methods.
        timeout_s: for all of it; never more than what is left to this client.
        max_body_bytes: 0 leaves the body unread.
        Raises one of the OutboundError family.
        """
        async with self.turn():
            return await self._exchange(
                method, parse_url(url), headers or {}, content,
                follow_redirects=follow_redirects, timeout_s=timeout_s, max_body_bytes=max_body_bytes,
            )  # fmt: skip

    async def _exchange(
        self,
        method: str,
        url: httpx2.URL,
        headers: Mapping[str, str],
        content: bytes,
        *,
        follow_redirects: bool,
        timeout_s: float,
        max_body_bytes: int,
    ) -> Answer:
        timeout_s = min(timeout_s, self.left_s)
        exchange = _Exchange(method, url, headers, content, timeout_s)
        started = time.perf_counter()
        with exchange.errors_in_words():
            async with asyncio.timeout(timeout_s):
                connection, response = await self._send(exchange)
                while follow_redirects and exchange.follow(response):
                    connection.release()
                    connection, response = await self._send(exchange)
                latency_ms = round((time.perf_counter() - started) * 1000)
                exchange.stage = "reading its answer"
                body, truncated = await _read_body(response, max_body_bytes)
                connection.release()
        return Answer(
            url=exchange.url,
            status=response.status_code,
            headers=response.headers,
            body=body,
            truncated=truncated,
            latency_ms=latency_ms,
            tls_expires_at=connection.tls_expires_at,
        )

    async def _send(self, exchange: "_Exchange") -> tuple[Connection, httpx2.Response]:
        answered = False
        try:
            for connection in self._connections:
                if connection.origin == exchange.origin and connection.is_idle:
                    break
            else:
                connection = await exchange.connect(self._rules, self._ssl_context)
                self._connections.append(connection)
            response = await exchange.send(connection)
            answered = True
        finally:
            if exchange.asks_internet:
                self.internet_answered = answered or bool(self.internet_answered)
        return connection, response


class _Exchange:
    """One request on its way through its redirects."""

    def __init__(
        self,
        method: str,
        url: httpx2.URL,
        headers: Mapping[str, str],
        content: bytes,
        timeout_s: float,
    ) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.content = content
        self.timeout_s = timeout_s
        self.redirects = 0
        self.stage = ""
        self.asks_internet = False

    @property
    def origin(self) -> Origin:
        is_tls = self.url.scheme == "https"
        return Origin(
            host=self.url.raw_host.decode("ascii"),
            port=self.url.port or (443 if is_tls else 80),
            is_tls=is_tls,
        )

    async def connect(self, rules: AddressRules, ssl_context: ssl.SSLContext) -> Connection:
        self.stage = "looking up its name"
        if not self.timeout_s:
            raise TimeoutError  # Nothing is begun that could only be cut off.
        origin, started = self.origin, time.monotonic()
        self.asks_internet = True  # For all that is known of a name that does not resolve.
        try:
            addresses = await rules.addresses(origin.host, origin.port)
        except RequestRefused:
            self.asks_internet = False
            raise
        self.asks_internet = any(is_public(address) for address in addresses)
        self.stage = "connecting"
        left_s = self.timeout_s - (time.monotonic() - started)
        try:
            connected, address = await connect(origin, addresses, left_s)
            if origin.is_tls:
                self.stage = "agreeing on TLS"
            return await speak(connected, address, origin, ssl_context)
        except TimeoutError:
            raise
        except OSError as exc:
            raise ConnectFailed(f"{self.url.host} {_why_no_connection(exc)}") from exc

    async def send(self, connection: Connection) -> httpx2.Response:
        self.stage = "waiting for its answer"
        headers = {"Host": self.url.netloc.decode("ascii"), **_HEADERS, **self.headers}
        if self.content or self.method not in ("GET", "HEAD"):
            headers["Content-Length"] = str(len(self.content))
        head = await connection.send(
            self.method,
            self.url.raw_path,
            # As str, headers could not hold what is not ASCII.
            [(name.encode(), value.encode()) for name, value in headers.items()],
            self.content,
        )
        return httpx2.Response(
            head.status_code, headers=head.headers.raw_items(), stream=_Body(connection)
        )

    def follow(self, response: httpx2.Response) -> bool:
        """Move on to where a response redirects to; return False when it is the final one."""
        if self.method not in ("GET", "HEAD") or not response.has_redirect_location:
            return False
        if self.redirects == MAX_REDIRECTS:
            raise BrokenAnswer(f"{self.url.host} redirected more than {MAX_REDIRECTS} times")
        self.redirects += 1
        url = parse_url(response.headers["Location"], base=self.url)
        if url.origin != self.url.origin:
            self.headers = {}
        self.url = url
        return True

    @contextmanager
    def errors_in_words(self) -> Iterator[None]:
        """Turn what the libraries raise into the family above; their texts may quote headers."""
        asked = self.url.host
        try:
            yield
        except RequestRefused as exc:
            if not self.redirects:
                raise
            raise RequestRefused(f"{asked} redirects to where no request goes: {exc}") from exc
        except TimeoutError as exc:
            raise TimedOut(
                f"{self.url.host} gave no complete answer within {round(self.timeout_s, 1):g} s"
                f" (stopped while {self.stage})"
            ) from exc
        except h11.LocalProtocolError:
            raise RequestRefused(
                f"the request to {self.url.host} has a character that HTTP headers cannot hold;"
                " enter the header or the credential again"
            ) from None
        except httpx2.DecodingError as exc:
            raise BrokenAnswer(f"{self.url.host} sent a body that cannot be decompressed") from exc
        except (h11.RemoteProtocolError, OSError) as exc:
            raise BrokenAnswer(
                f"{self.url.host} broke the connection off or did not answer in HTTP"
                f" (stopped while {self.stage})"
            ) from exc


class _Body(httpx2.AsyncByteStream):
    """The body of an answer as httpx2 takes it for decoding."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._connection.body()


def parse_url(url: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """Return the URL if a request to it could be made; a relative one is taken against `base`.

    Raises RequestRefused. Where the host name leads is not looked at here.
    """
    try:
        parsed = base.join(url) if base else httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as exc:
        raise RequestRefused("this is not a valid URL") from exc
    if parsed.scheme not in ("http", "https"):
        raise RequestRefused("only http:// and https:// addresses can be requested")
    if not _HOST.fullmatch(parsed.raw_host):
        raise RequestRefused("the URL has no valid host name")
    if parsed.userinfo:
        raise RequestRefused("the URL holds a user name or password; enter it as a credential")
    if parsed.port is not None and not 0 < parsed.port <= 65535:
        raise RequestRefused(f"port {parsed.port} does not exist; ports go from 1 to 65535")
    return parsed


async def _read_body(response: httpx2.Response, limit: int) -> tuple[bytes, bool]:
    """Return the decoded body up to `limit` bytes, and whether there was more."""
    if not limit:
        return b"", False
    # A chain of codings is never honest, and can burn minutes of CPU without any output.
    if len(response.headers.get_list("Content-Encoding", split_commas=True)) > 1:
        raise BrokenAnswer("the answer is compressed more than once")
    body = bytearray()
    async with aclosing(response.aiter_bytes()) as parts:
        async for part in parts:
            body += part
            if len(body) > limit:
                return bytes(body[:limit]), True
    return bytes(body), False


def _why_no_connection(exc: OSError) -> str:
    if isinstance(exc, ConnectionRefusedError):
        return "refused the connection"
    if isinstance(exc, ssl.SSLError):
        return "does not speak TLS properly on this port"
    return "cannot be reached"
