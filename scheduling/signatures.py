"""Verifying that a call comes from QStash.

The SDK's own Receiver is not used: it ignores its clock tolerance, cannot take a body that is not
UTF-8, and after any failure tries the other key, so that every refusal reads "Signature
verification failed" whatever the reason was.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

ISSUER = "Upstash"
#: Clocks of two well-kept machines differ by less.
LEEWAY_S = 10


class SignatureRefused(Exception):
    """The signature does not prove that QStash sent this; the message says why, for the log alone."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A signature that was found good.

    id: differs between any two signatures.
    """

    id: str


def verify(token: str, *, body: bytes, url: str, keys: Sequence[str]) -> Signature:
    """Check a signature over the raw body with the first key that fits.

    url: the address as it was published; the Host header is never asked.
    keys: the current and the next signing key, so that a rotation drops nothing.
    Raises SignatureRefused.
    """
    claims = _decode(token, keys)
    if claims["sub"] != url:
        raise SignatureRefused(f"it is for {claims['sub']!r}, not for {url!r}")
    if not hmac.compare_digest(_unpadded(claims["body"]), _body_hash(body)):
        raise SignatureRefused("the body is not the one that was signed")
    return Signature(id=claims["jti"])


def _decode(token: str, keys: Sequence[str]) -> dict[str, Any]:
    for key in keys:
        try:
            return _decode_with(token, key)
        except jwt.InvalidSignatureError:
            continue  # Only a wrong key is worth another try; everything else is the true reason.
        except jwt.PyJWTError as error:
            raise SignatureRefused(f"{type(error).__name__}: {error}") from error
    raise SignatureRefused("it fits neither the current nor the next signing key")


def _decode_with(token: str, key: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=["HS256"],
        issuer=ISSUER,
        leeway=LEEWAY_S,
        options={"require": ["iss", "sub", "exp", "nbf", "jti", "body"]},
    )
    if not isinstance(claims["body"], str):
        raise SignatureRefused("its body claim is no text")
    return claims


def _body_hash(body: bytes) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=")


def _unpadded(text: str) -> bytes:
    # JSON may hold halves of surrogate pairs, which no encoding takes and no hash contains.
    return text.rstrip("=").encode(errors="replace")
