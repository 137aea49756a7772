"""Encrypt and decrypt with the keys of SOLOBOARD_SECRET_KEYS, newest first."""

import base64
import functools
import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

#: Fewer characters than this are a password, not a key.
MIN_KEY_LENGTH = 32


class DecryptionFailed(Exception):
    """A stored secret cannot be read with the keys at hand; the message says which key is missing."""


class Keyring:
    """Encrypts with the first key, decrypts with any.

    A token is `<key id>:<Fernet token>`. The id (the head of a hash of the derived key) tells which
    key a secret needs, so that a lost key is named instead of guessed at, and a rotation knows what
    is left to do.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("A keyring needs at least one key.")
        derived = [_derive(key) for key in keys]
        self._ciphers = {_key_id(key): Fernet(key) for key in derived}
        self.newest_key_id = _key_id(derived[0])

    def encrypt(self, text: str) -> str:
        token = self._ciphers[self.newest_key_id].encrypt(text.encode()).decode()
        return f"{self.newest_key_id}:{token}"

    def decrypt(self, stored: str) -> str:
        key_id, _, token = stored.partition(":")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise DecryptionFailed(
                f"A stored secret was encrypted with the key {key_id!r}, which SOLOBOARD_SECRET_KEYS "
                "does not hold. Add that key to the end of the list."
            )
        try:
            return cipher.decrypt(token).decode()
        except InvalidToken as error:
            raise DecryptionFailed(
                f"A stored secret names the key {key_id!r} but was not written with it, or was altered. "
                "Enter the secret again."
            ) from error

    def is_newest(self, stored: str) -> bool:
        """Whether this token was written with the first key of the list."""
        return stored.startswith(f"{self.newest_key_id}:")


def keyring() -> Keyring:
    """The keyring of the current settings; read at call time, so that a test can change the keys."""
    return _keyring(tuple(settings.SOLOBOARD_SECRET_KEYS))


@functools.cache
def _keyring(keys: tuple[str, ...]) -> Keyring:
    # Deriving costs as much as decrypting, and a sync decrypts thousands of credentials.
    return Keyring(keys)


def _derive(key: str) -> bytes:
    # HKDF turns a key of any form into the 32 bytes that Fernet wants, and binds them to this use,
    # so that the same text used elsewhere as a password gives another key (RFC 5869).
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"soloboard.encryption").derive(
        key.encode()
    )
    return base64.urlsafe_b64encode(derived)


def _key_id(derived: bytes) -> str:
    return hashlib.sha256(derived).hexdigest()[:8]
