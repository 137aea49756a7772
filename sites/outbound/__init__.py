"""HTTP to hosts that a user named: every address is checked, and the checked one is connected to.

A name is looked up once per connection. If any of its addresses is not public, the request is
refused; otherwise the connection goes to exactly those addresses, so that a second look-up
cannot lead elsewhere (DNS rebinding). The host name still decides the Host header, SNI and the
certificate check. Redirects are followed hop by hop under the same rules.
"""

from sites.outbound.addresses import Address, Network, Resolver
from sites.outbound.client import MAX_BODY_BYTES, MAX_REDIRECTS, Answer, Client, Outbound, parse_url
from sites.outbound.errors import (
    BrokenAnswer,
    CertificateRefused,
    ConnectFailed,
    NameNotFound,
    OutboundError,
    RequestRefused,
    TimedOut,
)

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_REDIRECTS",
    "Address",
    "Answer",
    "BrokenAnswer",
    "CertificateRefused",
    "Client",
    "ConnectFailed",
    "NameNotFound",
    "Network",
    "Outbound",
    "OutboundError",
    "RequestRefused",
    "Resolver",
    "TimedOut",
    "parse_url",
]
