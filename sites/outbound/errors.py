"""What can go wrong on the way to a host, in words for the person who entered its URL."""

from datetime import datetime


class OutboundError(Exception):
    """No usable answer. The message is for the owner of the URL and holds no secret."""


class RequestRefused(OutboundError):
    """The request may not or cannot be made as it is; its owner has to change something."""


class NameNotFound(OutboundError):
    """The host name has no address, or its DNS server did not answer."""


class ConnectFailed(OutboundError):
    """No connection: refused, unreachable, or the TLS handshake broke off."""


class CertificateRefused(ConnectFailed):
    """The host's TLS certificate was not accepted.

    expires_at: UTC, when the certificate could be read; it may lie in the future.
    """

    def __init__(self, message: str, expires_at: datetime | None) -> None:
        super().__init__(message)
        self.expires_at = expires_at


class TimedOut(OutboundError):
    """The answer was not complete within the time allowed."""


class BrokenAnswer(OutboundError):
    """The host answered with something that is not proper HTTP, or redirected too often."""
