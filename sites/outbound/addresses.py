"""Which addresses may be reached."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sites.outbound.errors import NameNotFound, RequestRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Awaitable[list[Address]]]

WEB_PORTS = frozenset({80, 443})

# glibc holds a thread for up to ten seconds for a name whose server is silent. asyncio's default
# executor has six threads on two cores, so a few such names would stop every other site.
_RESOLVER_THREADS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="resolve")

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address.
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291; nothing outside it is a public host.
# ipaddress calls these public, but clouds answer them from inside: Azure's platform address
# (learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16) and the IETF
# protocol block (RFC 6890), where Oracle's cloud keeps 192.0.0.192.
_CLOUD_INTERNAL = (ip_network("168.63.129.16/32"), ip_network("192.0.0.0/24"))


async def resolve(host: str, port: int) -> list[Address]:
    """Look up a host name or literal as the system does, in the system's order of preference."""
    answers = await asyncio.get_running_loop().run_in_executor(
        _RESOLVER_THREADS, lambda: socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
    )
    return list(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in answers))


@dataclass(frozen=True, kw_only=True)
class AddressRules:
    """Public hosts on the web's ports, and what the settings add to them.

    allowed_networks: private networks that may be reached, on any port.
    allowed_ports: ports of public hosts that may be reached besides 80 and 443.
    """

    allowed_networks: Collection[Network] = ()
    allowed_ports: Collection[int] = ()
    resolve: Resolver = field(default=resolve, repr=False)

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a host, all of them checked.

        Raises NameNotFound, or RequestRefused if any single address or the port is off limits.
        """
        found = await self._look_up(host, port)
        for address in found:
            self._check(host, port, address)
        return found

    async def _look_up(self, host: str, port: int) -> list[Address]:
        try:
            return [ip_address(host)]
        except ValueError:
            pass  # A name, or a form such as 127.1 that only the system's resolver reads.
        try:
            return await self.resolve(host, port)
        except socket.gaierror as exc:
            if exc.errno == socket.EAI_AGAIN:
                raise NameNotFound(f"the DNS servers of {host} did not answer") from exc
            raise NameNotFound(f"the name {host} does not resolve; check its spelling") from exc

    def _check(self, host: str, port: int, address: Address) -> None:
        reached = _embedded_ipv4(address) or address
        if any(reached in network for network in self.allowed_networks):
            return
        if kind := _special_use(reached):
            name = str(address) if host == str(address) else f"{host} resolves to {address}, which"
            raise RequestRefused(
                f"{name} is {kind} address; add its network to ALLOWED_PRIVATE_NETWORKS to watch it"
            )
        if port not in WEB_PORTS and port not in self.allowed_ports:
            raise RequestRefused(
                f"port {port} of {host} is not reached: only 80 and 443 are; "
                "add it to ALLOWED_PORTS to watch it"
            )


def is_public(address: Address) -> bool:
    """Whether it is a host on the internet, and not one of a network of our own."""
    return _special_use(_embedded_ipv4(address) or address) is None


def _embedded_ipv4(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that a router or the kernel would really send to."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def _special_use(address: Address) -> str | None:
    """Say which kind of non-public address this is, with its article; None for a public one."""
    public = address.is_global and not any(address in network for network in _CLOUD_INTERNAL)
    if isinstance(address, IPv6Address):
        public = public and address in _GLOBAL_UNICAST
    if public and not address.is_multicast:
        return None
    kinds = {
        "a loopback": address.is_loopback,
        "a link-local": address.is_link_local,
        "a multicast": address.is_multicast,
        "a reserved": address.is_reserved or address.is_unspecified,
    }
    return next((kind for kind, applies in kinds.items() if applies), "a private")
