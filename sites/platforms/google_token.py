"""Service accounts of Google: their key files, and the tokens that an assertion is exchanged for.

The exchange is RFC 7523's (developers.google.com/identity/protocols/oauth2/service-account).
"""

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sites.outbound import Client
from sites.platforms import json_api
from sites.platforms.base import CredentialsRefused, PlatformError
from sites.platforms.json_api import Json, whole
from sites.platforms.tokens import Token

#: A key file names an address, too. It is not asked: whoever makes somebody paste a file of theirs
#: would choose where this server sends requests to.
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address.
ASSERTION_LIFETIME = timedelta(hours=1)  # Google takes none that lives longer.

_REFUSALS = frozenset(
    {"invalid_grant", "invalid_client", "unauthorized_client", "deleted_client", "disabled_client"}
)


@dataclass(frozen=True, kw_only=True)
class ServiceAccount:
    """What is needed of a key file. email: no secret, it stands wherever the account is let in."""

    email: str
    key_id: str
    private_key: str = field(repr=False)

    def to_json(self) -> str:
        """Return the part of the key file that `parse` reads."""
        return json.dumps(
            {
                "type": "service_account",
                "client_email": self.email,
                "private_key_id": self.key_id,
                "private_key": self.private_key,
            }
        )


def parse(text: str) -> ServiceAccount:
    """Read a key file. ValueError says what is wrong with it, and quotes nothing."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("this is not JSON; paste the whole key file") from None
    if json_api.word(data, "type") != "service_account":
        raise ValueError(
            "this is not the key file of a service account; its type is 'service_account'"
        )
    account = ServiceAccount(
        email=json_api.word(data, "client_email"),
        key_id=json_api.word(data, "private_key_id"),
        private_key=json_api.word(data, "private_key"),
    )
    if not re.fullmatch(r"[\w.+-]{1,200}@[\w.-]{1,200}", account.email, re.ASCII):
        raise ValueError("the key file has no 'client_email'; paste all of it")
    if not account.private_key:
        raise ValueError("the key file has no 'private_key'; paste all of it")
    return account


def check_private_key(account: ServiceAccount) -> None:
    """Raise ValueError for a private key that cannot sign."""
    try:
        key = load_pem_private_key(account.private_key.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError("its 'private_key' is damaged; paste the file as it was loaded") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("its 'private_key' is not one for RSA, as Google's are")  # noqa: TRY004


async def exchange(
    client: Client, account: ServiceAccount, *, url: str, scope: str, now: datetime
) -> Token:
    """Ask for a token that is good for the scope. Raises one of the PlatformError family."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": _assertion(account, url=url, scope=scope, now=now),
    }
    called = await json_api.call(
        client,
        "POST",
        url,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        content=urlencode(form).encode(),
        refusal=_refusal,
    )
    with json_api.reading("Google's"):
        text = called.data["access_token"]
        if not re.fullmatch(r"[\x21-\x7e]+", text):
            raise ValueError("no token")
        return Token(
            text=text, expires_at=now + timedelta(seconds=whole(called.data["expires_in"]))
        )


def _assertion(account: ServiceAccount, *, url: str, scope: str, now: datetime) -> str:
    claims = {
        "iss": account.email,
        "scope": scope,
        "aud": url,
        "iat": now,
        "exp": now + ASSERTION_LIFETIME,
    }
    try:
        # It was checked when it was entered. That takes longer than all else here, and would hold
        # up every other site's answer.
        key = load_pem_private_key(
            account.private_key.encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": account.key_id})  # type: ignore[arg-type]
    except (jwt.PyJWTError, ValueError, TypeError):
        # What the libraries say of a key may quote it.
        raise CredentialsRefused(
            "the private key of the service account cannot sign; enter the key file again"
        ) from None


def _refusal(status: int, data: Json) -> PlatformError | None:
    if json_api.word(data, "error") not in _REFUSALS:
        return None
    return CredentialsRefused(
        "Google does not accept the key of this service account: the key or the account was "
        "deleted or disabled, or the clock of this server is wrong; make a new key and enter it"
    )
