import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sites.outbound import Address, NameNotFound, RequestRefused
from sites.outbound.addresses import AddressRules, resolve


def addresses(rules: AddressRules, host: str, port: int = 443) -> list[Address]:
    return asyncio.run(rules.addresses(host, port))


def answering(*answers: str) -> AddressRules:
    async def answer(host: str, port: int) -> list[Address]:
        return [ip_address(text) for text in answers]

    return AddressRules(resolve=answer)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "a loopback"),
        ("127.8.8.8", "a loopback"),
        ("::1", "a loopback"),
        ("10.0.0.1", "a private"),
        ("172.16.0.1", "a private"),
        ("192.168.1.5", "a private"),
        ("100.64.0.1", "a private"),
        ("100.100.100.200", "a private"),
        ("192.0.0.192", "a private"),
        ("168.63.129.16", "a private"),
        ("198.18.0.1", "a private"),
        ("fd00:ec2::254", "a private"),
        ("2001:db8::1", "a private"),
        ("169.254.169.254", "a link-local"),
        ("fe80::1", "a link-local"),
        ("fe80::1%eth0", "a link-local"),
        ("224.0.0.1", "a multicast"),
        ("ff02::1", "a multicast"),
        ("0.0.0.0", "a reserved"),  # noqa: S104 - refused, not bound to.
        ("::", "a reserved"),
        ("240.0.0.1", "a reserved"),
        ("255.255.255.255", "a reserved"),
        ("64:ff9b:1::a00:1", "a reserved"),
        ("::ffff:127.0.0.1", "a loopback"),
        ("::ffff:10.0.0.1", "a private"),
        ("64:ff9b::169.254.169.254", "a link-local"),
        ("2002:a00:1::", "a private"),
    ],
)
def test_address_that_is_not_public_is_refused_with_its_kind_and_the_mend(
    address: str, kind: str
) -> None:
    with pytest.raises(RequestRefused, match=f"is {kind} address; add its network to ALLOWED_"):
        addresses(AddressRules(), address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_public_address_is_reached(address: str) -> None:
    assert addresses(AddressRules(), address) == [ip_address(address)]


def test_one_private_answer_among_public_ones_refuses_the_name() -> None:
    with pytest.raises(RequestRefused, match=r"shop\.example resolves to 10\.0\.0\.7, which is"):
        addresses(answering("93.184.216.34", "10.0.0.7"), "shop.example")


def test_answers_keep_the_order_of_the_resolver() -> None:
    found = addresses(answering("2606:4700::1111", "93.184.216.34"), "shop.example")
    assert [str(address) for address in found] == ["2606:4700::1111", "93.184.216.34"]


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0177.0.0.1", "0x7f000001", "0", "0x0"])
def test_odd_forms_of_a_loopback_address_are_never_reached(host: str) -> None:
    # Which of them resolve at all differs between C libraries.
    with pytest.raises((RequestRefused, NameNotFound)):
        addresses(AddressRules(), host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_loopback_is_refused_by_name_as_by_address(host: str) -> None:
    with pytest.raises(RequestRefused, match="is a loopback address"):
        addresses(AddressRules(resolve=resolve), host)


def test_allowed_network_is_reached_on_any_port() -> None:
    rules = AddressRules(allowed_networks=[ip_network("192.168.1.0/24")])
    assert addresses(rules, "192.168.1.5", 8123) == [ip_address("192.168.1.5")]
    assert addresses(rules, "::ffff:192.168.1.5", 8123) == [ip_address("::ffff:192.168.1.5")]
    with pytest.raises(RequestRefused, match=r"192\.168\.2\.5 is a private address"):
        addresses(rules, "192.168.2.5", 443)


def test_other_port_of_a_public_host_needs_the_settings_word() -> None:
    with pytest.raises(RequestRefused, match=r"port 6379 of 93\.184\.216\.34 .* ALLOWED_PORTS"):
        addresses(AddressRules(), "93.184.216.34", 6379)
    rules = AddressRules(allowed_ports=[8443])
    assert addresses(rules, "93.184.216.34", 8443) == [ip_address("93.184.216.34")]


def test_name_that_does_not_resolve_is_told_from_silent_dns_servers() -> None:
    def failing(errno: int) -> AddressRules:
        async def fail(host: str, port: int) -> list[Address]:
            raise socket.gaierror(errno, "words of the C library")

        return AddressRules(resolve=fail)

    with pytest.raises(NameNotFound, match=r"the name shop\.example does not resolve"):
        addresses(failing(socket.EAI_NONAME), "shop.example")
    with pytest.raises(NameNotFound, match=r"the DNS servers of shop\.example did not answer"):
        addresses(failing(socket.EAI_AGAIN), "shop.example")


def test_system_resolver_finds_the_loopback() -> None:
    assert ip_address("127.0.0.1") in asyncio.run(resolve("localhost", 80))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_ipv6_dress(address: IPv4Address) -> None:
    dressed = [
        IPv6Address(0xFFFF_0000_0000 | int(address)),
        IPv6Address((0x64_FF9B << 96) | int(address)),
        IPv6Address((0x2002 << 112) | (int(address) << 80)),
    ]

    def is_refused(host: Address) -> bool:
        try:
            addresses(AddressRules(), str(host))
        except RequestRefused:
            return True
        return False

    assert {is_refused(host) for host in dressed} == {is_refused(address)}
