"""What the person who starts the server decides, and what is refused."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from qstash_server.errors import StartError
from qstash_server.firewall import is_pattern
from qstash_server.signing import SigningKeys
from qstash_server.state.retention import Retention

# Token and keys of the first user of Upstash's own development server. They are public constants
# (docs: qstash/howto/local-development), and clients in development mode look for exactly these.
DEVELOPMENT_TOKEN = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="  # noqa: S105
DEVELOPMENT_KEYS = SigningKeys(
    current="sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", next="sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
)
DEFAULT_PORT = 8080


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The limits are those of Upstash's pay-as-you-go plan.

    state: path of the SQLite file. port: 0 takes a free one. parallelism: deliveries at one time.
    destinations: the hosts that may be called, with or without a port; none allows all.
    """

    state: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str = DEVELOPMENT_TOKEN
    signing_keys: SigningKeys = DEVELOPMENT_KEYS
    retention: Retention = field(default_factory=Retention)
    destinations: tuple[str, ...] = ()
    parallelism: int = 100
    longest_timeout_s: int = 7_200
    max_message_bytes: int = 10_000_000
    max_batch_bytes: int = 100_000_000
    deduplication_ms: int = 600_000
    grace_s: float = 3.0

    @property
    def on_loopback(self) -> bool:
        return is_loopback(self.host)

    def check(self) -> None:
        """Raise StartError when these settings would leave the server open, or cannot work."""
        if not 0 <= self.port <= 65_535:
            raise StartError(f"The port {self.port} is not between 0 and 65535.")
        if not self.token.strip() or self.token != self.token.strip():
            raise StartError("QSTASH_TOKEN is empty or has blanks around it.")
        for pattern in self.destinations:
            if not is_pattern(pattern):
                raise StartError(
                    f"The destination {pattern!r} is not a host such as example.com, *.example.com, "
                    "127.0.0.1:8000 or [::1]:8000."
                )
        if not self.on_loopback and self.token == DEVELOPMENT_TOKEN:
            raise StartError(
                f"Listening on {self.host} with the public development token would let everybody "
                "in: set QSTASH_TOKEN to a secret of your own, or listen on 127.0.0.1."
            )


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host, as given to listen on or in a Host header without its port, is this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def port_from(environment: Mapping[str, str]) -> int:
    """Return the default port. Raises StartError for a QSTASH_DEV_PORT that is no number."""
    text = environment.get("QSTASH_DEV_PORT", str(DEFAULT_PORT))
    if not (text.isascii() and text.isdigit()):
        raise StartError(f"QSTASH_DEV_PORT is {text!r}, which is not a port number.")
    return int(text)


def credentials_from(environment: Mapping[str, str] = os.environ) -> tuple[str, SigningKeys]:
    """Return the token and the signing keys of the environment, or the development ones.

    Raises StartError when only one of the two keys is set: a pair of one's own and a public one
    would look safe and not be.
    """
    token = environment.get("QSTASH_TOKEN") or DEVELOPMENT_TOKEN
    current = environment.get("QSTASH_CURRENT_SIGNING_KEY")
    following = environment.get("QSTASH_NEXT_SIGNING_KEY")
    if not current and not following:
        return token, DEVELOPMENT_KEYS
    if not current or not following:
        raise StartError(
            "Set both QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY, or neither."
        )
    return token, SigningKeys(current=current, next=following)
