import base64
import hashlib
import json
import time

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qstash import Receiver
from qstash.errors import SignatureError

from qstash_server.signing import SigningKeys, new_key, sign

KEY, NEXT_KEY = "sig_" + "a" * 28, "sig_" + "b" * 28
URL = "https://example.com/hook?x=1"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@settings(deadline=None)
@given(st.text())
def test_the_sdk_accepts_a_signature_over_any_text(body: str) -> None:
    encoded = body.encode(errors="replace")
    token = sign(key=KEY, url=URL, body=encoded, now_ms=now_ms())
    Receiver(KEY, NEXT_KEY).verify(signature=token, body=encoded.decode(), url=URL)


def test_claims_are_those_of_qstash() -> None:
    token = sign(key=KEY, url=URL, body=b"\xff\x00", now_ms=1_700_000_000_999)
    claims = jwt.decode(
        token, KEY, algorithms=["HS256"], issuer="Upstash", options={"verify_exp": False}
    )
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"\xff\x00").digest()).decode()
    assert claims["jti"].startswith("jwt_")
    assert {name: claims[name] for name in ("sub", "iat", "exp", "nbf", "body")} == {
        "sub": URL,
        "iat": 1_700_000_000,
        "exp": 1_700_000_300,
        "nbf": 0,
        "body": digest,
    }
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize(
    ("key", "body", "url"), [(NEXT_KEY, "x", URL), (KEY, "y", URL), (KEY, "x", URL + "&y=2")]
)
def test_another_key_body_or_url_is_refused(key: str, body: str, url: str) -> None:
    token = sign(key=KEY, url=URL, body=b"x", now_ms=now_ms())
    with pytest.raises(SignatureError):
        Receiver(key, key).verify(signature=token, body=body, url=url)


def test_signature_over_a_fixed_payload_has_the_three_parts_of_a_jwt() -> None:
    header, claims, mac = sign(key=KEY, url=URL, body=b"", now_ms=0).split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert "=" not in header + claims + mac


def test_rotation_moves_the_next_key_up_and_makes_a_long_enough_new_one() -> None:
    rotated = SigningKeys(current=KEY, next=NEXT_KEY).rotated()
    assert rotated.current == NEXT_KEY
    assert rotated.next not in (KEY, NEXT_KEY)
    assert len(new_key()) >= 32
