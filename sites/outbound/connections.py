"""HTTP/1.1 connections to checked addresses, and what a refused certificate says.

The protocol is h11's and the sockets are asyncio's, with nothing between them. A fetch is mostly one
request on a connection of its own, and httpcore2's pool, locks and streams took more time than all
the rest of it (docs/benchmarks.md).
"""

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import h11
from cryptography import x509

from sites.outbound.addresses import Address
from sites.outbound.errors import CertificateRefused, NameNotFound

#: The status line and the headers of an answer may have this size; browsers allow about as much.
MAX_HEAD_BYTES = 100 * 1024
READ_BYTES = 64 * 1024

RawHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a request goes. host: in ASCII, as DNS and certificates have it."""

    host: str
    port: int
    is_tls: bool


class Connection:
    """One connection to an origin, for one request at a time.

    It knows no time limits; the client has one for all of a request. What it raises, OSError and
    h11's ProtocolError, is put into words there too.
    """

    def __init__(
        self, origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.origin = origin
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def send(
        self, method: str, target: bytes, headers: RawHeaders, content: bytes
    ) -> h11.Response:
        """Send a request and return the head of its answer."""
        request = h11.Request(method=method, target=target, headers=headers)
        events = [request, *([h11.Data(data=content)] if content else []), h11.EndOfMessage()]
        # A request is a few kB, so nothing waits until it has left.
        self._writer.write(b"".join(self._protocol.send(event) or b"" for event in events))
        while not isinstance(event := await self._event(), h11.Response):
            pass  # An informational one comes before.
        return event

    async def body(self) -> AsyncIterator[bytes]:
        """The body of the answer, as it comes and still compressed."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def _event(self) -> object:
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            self._protocol.receive_data(await self._reader.read(READ_BYTES))
        return event

    def release(self) -> None:
        """End with an answer. One that was not read to its end takes the connection with it."""
        if self._protocol.our_state is self._protocol.their_state is h11.DONE:
            self._protocol.start_next_cycle()
        else:
            self.close()

    @property
    def is_idle(self) -> bool:
        """Whether it can take a request. What comes in meanwhile can only be the host's end of it."""
        if self._protocol.our_state is not h11.IDLE or self._writer.is_closing():
            return False
        return not (self._reader.at_eof() or _is_readable(self._writer.get_extra_info("socket")))

    def close(self) -> None:
        # A polite end of TLS would wait for the other side, and nothing is left to be said.
        self._writer.transport.abort()

    @property
    def tls_expires_at(self) -> datetime | None:
        """End of the host's certificate; None without TLS."""
        tls = self._writer.get_extra_info("ssl_object")
        if tls is None:
            return None
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(tls.getpeercert()["notAfter"]), UTC)


def _is_readable(connected: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connected.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def connect(
    origin: Origin, addresses: Sequence[Address], limit_s: float
) -> tuple[socket.socket, Address]:
    """Connect to the first address that answers; each gets an equal share of the time left.

    Raises OSError, TimeoutError among them.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + limit_s
    for left in range(len(addresses), 0, -1):
        address, share_s = addresses[-left], max(0.0, deadline_s - loop.time()) / left
        try:
            return await _connect(address, origin.port, share_s), address
        except OSError:
            if left == 1:
                raise
    raise NameNotFound(f"the name {origin.host} has no address")


async def _connect(address: Address, port: int, limit_s: float | None) -> socket.socket:
    connected = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    try:
        connected.setblocking(False)
        async with asyncio.timeout(limit_s):
            await asyncio.get_running_loop().sock_connect(connected, (str(address), port))
    except BaseException:
        connected.close()
        raise
    return connected


async def speak(
    connected: socket.socket, address: Address, origin: Origin, ssl_context: ssl.SSLContext
) -> Connection:
    """Begin to speak HTTP, after a handshake where the origin wants TLS.

    Raises CertificateRefused with the reason, or OSError.
    """
    context, name = (ssl_context, origin.host) if origin.is_tls else (None, None)
    try:
        streams = await asyncio.open_connection(sock=connected, ssl=context, server_hostname=name)
    except ssl.SSLCertVerificationError as refusal:
        expires_at = await _certificate_end(address, origin)
        raise _certificate_refused(origin.host, refusal, expires_at) from refusal
    return Connection(origin, *streams)


async def _certificate_end(address: Address, origin: Origin) -> datetime | None:
    """Shake hands once more with the same address, unverified, to read the end date.

    After an unverified handshake OpenSSL hands out the certificate undecoded only. Nothing
    is sent over this connection.
    """
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        connected = await _connect(address, origin.port, None)
        _, writer = await asyncio.open_connection(
            sock=connected, ssl=unverified, server_hostname=origin.host
        )
        try:
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
        return x509.load_der_x509_certificate(der).not_valid_after_utc
    except (OSError, ValueError):
        return None  # The first handshake has said already that the certificate is no good.


def _certificate_refused(
    host: str, refusal: ssl.SSLCertVerificationError, expires_at: datetime | None
) -> CertificateRefused:
    if expires_at and expires_at <= datetime.now(UTC):
        why = f"expired on {expires_at:%Y-%m-%d}"
    else:
        why = f"is not accepted: {refusal.verify_message}"
    return CertificateRefused(f"the TLS certificate of {host} {why}", expires_at)
