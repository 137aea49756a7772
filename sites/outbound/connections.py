"""Connections to checked addresses, and what a refused certificate says."""

import asyncio
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpcore2
from cryptography import x509

from sites.outbound.addresses import AddressRules
from sites.outbound.errors import CertificateRefused, NameNotFound

_E = TypeVar("_E", bound=BaseException)


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Looks a name up once and connects to the checked addresses only."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._sockets = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface is httpcore2's.
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Try the addresses in order; each gets an equal share of the time that is left."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + (timeout or 0)
        addresses = await self._rules.addresses(host, port)
        for left in range(len(addresses), 0, -1):
            address = str(addresses[-left])
            share_s = max(0.0, deadline_s - loop.time()) / left
            try:
                stream = await self._sockets.connect_tcp(address, port, timeout=share_s)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if left == 1:
                    raise
            else:
                return _PinnedStream(stream, address, port)
        raise NameNotFound(f"the name {host} has no address")


class _PinnedStream(httpcore2.AsyncNetworkStream):
    """A connection that, when a certificate is refused, finds out why."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream, address: str, port: int) -> None:
        self._stream = stream
        self._address = address
        self._port = port

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except httpcore2.ConnectError as exc:
            refusal = cause(exc, ssl.SSLCertVerificationError)
            if refusal is None:
                raise
            expires_at = await self._certificate_end(server_hostname, timeout)
            raise _certificate_refused(server_hostname, refusal, expires_at) from exc
        except asyncio.CancelledError:
            # httpcore2 closes the connection after an error, but not when a deadline cancels it.
            await self._stream.aclose()
            raise

    async def _certificate_end(
        self, hostname: str | None, limit_s: float | None
    ) -> datetime | None:
        """Shake hands once more with the same address, unverified, to read the end date.

        After an unverified handshake OpenSSL hands out the certificate undecoded only. Nothing
        is sent over this connection.
        """
        unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        try:
            stream = await httpcore2.AnyIOBackend().connect_tcp(self._address, self._port, limit_s)
            try:
                secured = await stream.start_tls(unverified, hostname, limit_s)
                der = secured.get_extra_info("ssl_object").getpeercert(binary_form=True)
            finally:
                await stream.aclose()
            return x509.load_der_x509_certificate(der).not_valid_after_utc
        except (httpcore2.NetworkError, httpcore2.TimeoutException, ValueError):
            return None  # The first handshake has said already that the certificate is no good.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _certificate_refused(
    host: str | None, refusal: ssl.SSLCertVerificationError, expires_at: datetime | None
) -> CertificateRefused:
    if expires_at and expires_at <= datetime.now(UTC):
        why = f"expired on {expires_at:%Y-%m-%d}"
    else:
        why = f"is not accepted: {refusal.verify_message}"
    return CertificateRefused(f"the TLS certificate of {host} {why}", expires_at)


def cause(exc: BaseException | None, kind: type[_E]) -> _E | None:
    """Find an error of this kind among the causes of another."""
    while exc is not None and not isinstance(exc, kind):
        exc = exc.__cause__ or exc.__context__
    return exc
