"""Requests of channels, by the one way out that there is for HTTP."""

import asyncio
from collections.abc import Mapping

from django.conf import settings

from alerts.channels.base import SEND_LIMIT_S, ChannelError
from sites.outbound import Answer, Outbound, OutboundError


def post(url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
    """Post once, to an address that is checked first. Returns the answer, whatever its status.

    Raises ChannelError when there was none.
    """
    try:
        return asyncio.run(_post(url, content, headers))
    except OutboundError as error:
        raise ChannelError(f"{error}.") from error


async def _post(url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
    outbound = Outbound(
        allowed_networks=settings.ALLOWED_PRIVATE_NETWORKS, allowed_ports=settings.ALLOWED_PORTS
    )
    async with outbound.client(timeout_s=SEND_LIMIT_S) as client:
        return await client.request("POST", url, headers=headers, content=content)


def asked_wait_s(answer: Answer) -> float | None:
    """The seconds of a Retry-After, where it is a number of them."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 7 else None
