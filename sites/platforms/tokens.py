"""Access tokens that credentials are exchanged for, kept in the process until they end."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

#: A token is not used in its last minutes: a fetch takes one, and clocks differ.
MARGIN = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Token:
    """What to show instead of the credentials, and until when."""

    text: str = field(repr=False)
    expires_at: datetime


class Tokens:
    """The tokens of one platform, by a digest of the credentials that they were exchanged for.

    Fetches of one account that run at the same time make one exchange between them. Each event
    loop has locks of its own, since a lock works on one only; two loops may make an exchange each.
    """

    def __init__(self) -> None:
        self._tokens: dict[bytes, Token] = {}
        self._locks: WeakKeyDictionary[
            asyncio.AbstractEventLoop, defaultdict[bytes, asyncio.Lock]
        ] = WeakKeyDictionary()

    async def get(
        self, *credentials: str, now: datetime, exchange: Callable[[], Awaitable[Token]]
    ) -> Token:
        """Return a token that is good for some minutes; what `exchange` raises is passed on."""
        key = _digest(credentials)
        locks = self._locks.setdefault(asyncio.get_running_loop(), defaultdict(asyncio.Lock))
        async with locks[key]:
            token = self._tokens.get(key)
            if token is None or token.expires_at - MARGIN <= now:
                token = await exchange()
                self._forget_ended(now)
                self._tokens[key] = token
            return token

    def forget(self, *credentials: str, token: Token) -> None:
        """Drop a token that is not accepted, unless there is another one already."""
        key = _digest(credentials)
        if self._tokens.get(key) is token:
            self._tokens.pop(key, None)

    def _forget_ended(self, now: datetime) -> None:
        for key, token in list(self._tokens.items()):
            if token.expires_at <= now:
                self._tokens.pop(key, None)


def _digest(credentials: tuple[str, ...]) -> bytes:
    return hashlib.sha256("\0".join(credentials).encode()).digest()
