"""Signatures of deliveries: a JWT over the destination and the body, HS256.

The claims are those of QStash (docs: qstash/howto/signature): the receiver checks `iss`, `sub`
(the destination as published), `exp` and the hash of the raw body.
"""

import base64
import hashlib
import hmac
import json
import secrets
import string
from dataclasses import dataclass

LIFETIME_S = 300
_ALPHABET = string.ascii_letters + string.digits
_KEY_LENGTH = 28  # with "sig_" 32 bytes, what HS256 wants at least (RFC 7518, 3.2)


@dataclass(frozen=True, kw_only=True)
class SigningKeys:
    """The key that signs, and the one that will after the next rotation."""

    current: str
    next: str

    def rotated(self) -> "SigningKeys":
        return SigningKeys(current=self.next, next=new_key())


def new_key() -> str:
    """Return a random signing key in QStash's form."""
    return "sig_" + "".join(secrets.choice(_ALPHABET) for _ in range(_KEY_LENGTH))


def sign(*, key: str, url: str, body: bytes, now_ms: int) -> str:
    """Return the compact JWT that goes into ``Upstash-Signature``.

    key: the whole ``sig_…`` string is the HMAC key. url: the destination as published.
    """
    now_s = now_ms // 1000
    claims = {
        "iss": "Upstash",
        "sub": url,
        "exp": now_s + LIFETIME_S,
        "nbf": 0,  # QStash sends 0 since September 2024, so that a receiver's slow clock is no error.
        "iat": now_s,
        "jti": "jwt_" + secrets.token_hex(16),
        "body": base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode(),
    }
    signing_input = _HEADER + b"." + _base64url(json.dumps(claims, separators=(",", ":")).encode())
    mac = hmac.new(key.encode(), signing_input, hashlib.sha256).digest()
    return (signing_input + b"." + _base64url(mac)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


_HEADER = _base64url(b'{"alg":"HS256","typ":"JWT"}')
