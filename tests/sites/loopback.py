"""An HTTP(S) server on 127.0.0.1 whose answers are given byte by byte, and a way out to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from types import TracebackType
from typing import Self

import httpx2
import trustme

from sites.outbound import Address, Outbound

LOOPBACK = ip_network("127.0.0.0/8")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the server received; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


# An answer is every byte of it, or pieces as they come. None: none, the connection stays open.
Answer = bytes | AsyncIterator[bytes] | None
Answers = Callable[[Request], Answer]


def http(
    body: bytes | str = b"", status: int = 200, headers: Mapping[str, str] | None = None
) -> bytes:
    """Write out a complete answer after which the connection may be used again."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whole", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Loopback:
    """Serves `answers`; after one that is not whole, made by `http`, it closes the connection."""

    def __init__(self, answers: Answers | bytes | None, tls: ssl.SSLContext | None = None) -> None:
        self._answers: Answers = answers if callable(answers) else lambda _: answers
        self._tls = tls
        self._open: list[tuple[asyncio.Task[None], asyncio.StreamWriter]] = []
        self.requests: list[Request] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task, writer in self._open:
            task.cancel()
            writer.transport.abort()
        ends = await asyncio.gather(*(task for task, _ in self._open), return_exceptions=True)
        await asyncio.sleep(0)  # An aborted connection closes in the next turn of the loop.
        for end in ends:
            if isinstance(end, Exception):
                raise end

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._open)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Return the address of a path here, under any host name."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of asyncio's making might not have begun when the server closes, and leak.
        self._open.append((asyncio.create_task(self._serve(reader, writer)), writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        self.requests.append(request)
        answer = self._answers(request)
        if answer is None:
            await asyncio.Event().wait()
        elif isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
            return b" Whole\r\n" in answer[:30]
        else:
            async for piece in answer:
                writer.write(piece)
                await writer.drain()
        return False


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method=method, target=target, headers=headers, body=body)


async def resolve_to_loopback(host: str, port: int) -> list[Address]:
    """Answer 127.0.0.1 for every name."""
    return [ip_address("127.0.0.1")]


def outbound(authority: trustme.CA | None = None) -> Outbound:
    """Return a way out that takes every name to the loopback, and may go there."""
    context = httpx2.create_ssl_context(trust_env=False)
    if authority:
        authority.configure_trust(context)
    return Outbound(allowed_networks=[LOOPBACK], ssl_context=context, resolve=resolve_to_loopback)


def resolving_to(*answers: str) -> Outbound:
    """Return a way out for which every name has these addresses; only the loopback is allowed."""

    async def resolve(host: str, port: int) -> list[Address]:
        return [ip_address(text) for text in answers]

    return Outbound(allowed_networks=[LOOPBACK], resolve=resolve)


def server_tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return a context that serves this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
