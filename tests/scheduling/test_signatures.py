"""Signatures against the real PyJWT; forged ones are put together byte by byte."""

import base64
import hashlib
import hmac
import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from qstash import Receiver
from qstash.errors import SignatureError

from qstash_server.signing import sign
from scheduling.signatures import LEEWAY_S, SignatureRefused, verify

CURRENT = "made-up-current-signing-key-of-this-file"
NEXT = "made-up-next-signing-key-of-this-file"
OTHER = "made-up-signing-key-of-somebody-else"
URL = "https://board.example/api/cron/sync-sites?x=1"
BODY = b'{"sites": ["Shop"]}'
REQUIRED_CLAIMS = ("iss", "sub", "exp", "nbf", "jti", "body")

# Signed at 2026-01-01 00:05 UTC for 300 s, with a key that was made up for this test.
KNOWN_KEY = "a-made-up-signing-key-that-signs-nothing-real"
KNOWN_URL = "https://board.example/api/actions/batch-process"
KNOWN_BODY = b'{"action": "process_user_actions"}'
KNOWN_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    ".eyJpc3MiOiJVcHN0YXNoIiwic3ViIjoiaHR0cHM6Ly9ib2FyZC5leGFtcGxlL2FwaS9hY3Rpb25zL2JhdGNoLXByb2Nlc"
    "3MiLCJleHAiOjE3NjcyMjYyMDAsIm5iZiI6MCwiaWF0IjoxNzY3MjI1OTAwLCJqdGkiOiJqd3RfbWFkZS11cCIsImJvZHk"
    "iOiJwcFRkM1JPanpMNGtGNURpbHgwOFZDZDc4QVRpbm81TjlhcUc4UElRX2VjPSJ9"
    ".smTNCAQquNi8nSON6eZrNe-G39Lclff4zw2yWHYPzkU"
)
KNOWN_SIGNED_AT = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)


def body_hash(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()


def claims(**changed: Any) -> dict[str, Any]:
    """The claims of a good signature, except for the given ones; a claim of ... is left out."""
    now_s = int(time.time())
    good = {
        "iss": "Upstash",
        "sub": URL,
        "exp": now_s + 300,
        "nbf": 0,
        "iat": now_s,
        "jti": "jwt_made-up",
        "body": body_hash(BODY),
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not ...}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: object, *, key: str = CURRENT, header: object = None) -> str:
    """A token with a true HMAC over any header and any claims, those that PyJWT would not make too."""
    parts = [header or {"alg": "HS256", "typ": "JWT"}, payload]
    signing_input = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    mac = hmac.new(key.encode(), signing_input.encode(), hashlib.sha256).digest()
    return f"{signing_input}.{base64url(mac)}"


def check(token: str, *, body: bytes = BODY, url: str = URL) -> str:
    """Verify as the webhooks do; the id of the signature."""
    return verify(token, body=body, url=url, keys=[CURRENT, NEXT]).id


@pytest.mark.parametrize("key", [CURRENT, NEXT])
def test_a_signature_of_the_current_or_the_next_key_is_good(key: str) -> None:
    assert check(signed(claims(), key=key)) == "jwt_made-up"


@pytest.mark.parametrize("key", [CURRENT, NEXT])
@pytest.mark.parametrize(
    "body", [b"", BODY, "Grüße ✓".encode(), b"\xff\xfe\x00\xd8", b"\r\n" * 9999]
)
def test_what_the_local_server_signs_is_good(key: str, body: bytes) -> None:
    token = sign(key=key, url=URL, body=body, now_ms=time.time_ns() // 1_000_000)
    assert check(token, body=body).startswith("jwt_")


def test_known_token_is_good_within_its_time_and_its_leeway_only() -> None:
    def verify_after(seconds: float) -> str:
        with time_machine.travel(KNOWN_SIGNED_AT + timedelta(seconds=seconds), tick=False):
            signature = verify(KNOWN_TOKEN, body=KNOWN_BODY, url=KNOWN_URL, keys=[KNOWN_KEY])
            return signature.id

    for seconds in (-LEEWAY_S, 0, 299, 300, 300 + LEEWAY_S - 0.001):
        assert verify_after(seconds) == "jwt_made-up"
    with pytest.raises(SignatureRefused, match="expired"):
        verify_after(300 + LEEWAY_S)
    with pytest.raises(SignatureRefused, match="iat"):
        verify_after(-LEEWAY_S - 1)


@pytest.mark.parametrize("jwt_body", [body_hash(BODY), body_hash(BODY).rstrip("=")])
def test_the_hash_of_the_body_may_be_padded_or_not(jwt_body: str) -> None:
    assert check(signed(claims(body=jwt_body)))


def test_a_signer_whose_clock_is_ahead_by_less_than_the_leeway_is_believed() -> None:
    soon = int(time.time()) + LEEWAY_S - 2
    assert check(signed(claims(iat=soon, nbf=soon)))


def test_a_signature_that_expired_within_the_leeway_is_good() -> None:
    assert check(signed(claims(exp=int(time.time()) - LEEWAY_S + 5)))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": -LEEWAY_S - 5}, "expired"),
        ({"iat": LEEWAY_S + 30}, "iat"),
        ({"nbf": LEEWAY_S + 30}, "nbf"),
    ],
)
@pytest.mark.parametrize("key", [CURRENT, NEXT])
def test_a_time_beyond_the_leeway_is_named_as_the_reason(
    key: str, changed: dict[str, int], reason: str
) -> None:
    moments = {name: int(time.time()) + offset for name, offset in changed.items()}
    with pytest.raises(SignatureRefused, match=reason):
        check(signed(claims(**moments), key=key))


@pytest.mark.parametrize("key", [CURRENT, NEXT])
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "Somebody"}, "issuer"),
        ({"sub": URL + "/"}, "not for 'https://board.example/api/cron/sync-sites"),
        ({"sub": "http://localhost/api/cron/sync-sites?x=1"}, "it is for 'http://localhost"),
        ({"body": body_hash(BODY + b" ")}, "the body is not the one"),
        ({"body": ""}, "the body is not the one"),
        ({"aud": "somebody-else"}, "audience"),
        *(({name: ...}, f'missing the "{name}" claim') for name in REQUIRED_CLAIMS),
        *(({name: None}, f'missing the "{name}" claim') for name in REQUIRED_CLAIMS),
        ({"body": 7}, "body claim is no text"),
        ({"body": ["x"]}, "body claim is no text"),
        ({"body": "\ud800"}, "the body is not the one"),
        ({"jti": 7}, "JWT ID must be a string"),
        ({"jti": 7.5}, "JWT ID must be a string"),
        ({"jti": ["x"]}, "JWT ID must be a string"),
        ({"sub": 7}, "Subject must be a string"),
        ({"sub": ["x"]}, "Subject must be a string"),
        ({"iss": ["Upstash"]}, "iss"),
        ({"exp": "soon"}, "exp"),
        ({"exp": [1]}, "exp"),
        ({"nbf": {}}, "nbf"),
        ({"iat": "now"}, "iat"),
        ({"exp": float("inf")}, "exp"),
        ({"exp": float("nan")}, "exp"),
    ],
)
def test_a_wrong_claim_is_named_as_the_reason(
    key: str, changed: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SignatureRefused, match=r"(?i)" + reason.replace("?", r"\?")):
        check(signed(claims(**changed), key=key))


@pytest.mark.parametrize("payload", [[], "text", 7, None])
def test_claims_that_are_no_object_are_refused(payload: object) -> None:
    with pytest.raises(SignatureRefused, match="json object"):
        check(signed(payload))


def test_a_signature_of_another_key_is_refused() -> None:
    with pytest.raises(SignatureRefused, match="neither the current nor the next signing key"):
        check(signed(claims(), key=OTHER))


def test_a_tampered_body_is_refused() -> None:
    with pytest.raises(SignatureRefused, match="the body is not the one that was signed"):
        check(signed(claims()), body=BODY.replace(b"Shop", b"Stop"))


def test_a_body_where_none_was_signed_is_refused() -> None:
    with pytest.raises(SignatureRefused, match="the body is not the one that was signed"):
        check(signed(claims(body=body_hash(b""))))


def test_a_body_that_is_not_utf8_is_verified_byte_by_byte() -> None:
    token = signed(claims(body=body_hash(b"\xff\xfe")))
    assert check(token, body=b"\xff\xfe")
    with pytest.raises(SignatureRefused, match="the body is not the one"):
        check(token, body=b"\xff\xff")


def test_claims_changed_after_signing_are_refused() -> None:
    header, _, mac = signed(claims()).split(".")
    forged = base64url(json.dumps(claims(sub=URL + "2")).encode())
    with pytest.raises(SignatureRefused, match="neither the current nor the next"):
        check(f"{header}.{forged}.{mac}", url=URL + "2")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, ["HS256"], {"alg": 1}])
def test_a_token_without_an_algorithm_is_refused(algorithm: object) -> None:
    header, payload, mac = signed(claims(), header={"alg": algorithm}).split(".")
    for signature in ("", mac):
        with pytest.raises(SignatureRefused, match="alg"):
            check(f"{header}.{payload}.{signature}")


def test_a_token_of_another_algorithm_is_refused_though_its_key_is_right() -> None:
    with pytest.raises(SignatureRefused, match="alg value is not allowed"):
        check(jwt.encode(claims(), CURRENT + "." * 64, algorithm="HS512"))
    with pytest.raises(SignatureRefused, match="alg value is not allowed"):
        check(signed(claims(), header={"alg": "HS512"}))
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(SignatureRefused, match="alg value is not allowed"):
        check(jwt.encode(claims(), rsa_key, algorithm="RS256"))


@pytest.mark.parametrize("header", [{"b64": False}, {"b64": False, "crit": ["b64"]}])
def test_a_detached_payload_is_refused(header: dict[str, Any]) -> None:
    token = signed(claims(), header={"alg": "HS256", **header})
    first, _, mac = token.split(".")
    for forged in (token, f"{first}..{mac}"):
        with pytest.raises(SignatureRefused):
            check(forged)


@pytest.mark.parametrize("keys", [["", NEXT], [CURRENT, ""], ["", ""]])
def test_an_empty_signing_key_lets_nobody_in(keys: list[str]) -> None:
    with pytest.raises(SignatureRefused):
        verify(signed(claims(), key=""), body=BODY, url=URL, keys=keys)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        "\x00",
        "Bearer " + KNOWN_TOKEN,
        KNOWN_TOKEN + ", " + KNOWN_TOKEN,
        base64url(b"[" * 6000) + ".e30.",  # as deep as a header line may be long
        base64url(b'{"alg": ' + b"9" * 6000) + ".e30.",
    ],
)
def test_garbage_is_refused(token: str) -> None:
    with pytest.raises(SignatureRefused):
        check(token)


#: A header arrives as latin-1; these go beyond it.
texts = st.one_of(st.text(), st.text("eyJ.-_=0Aa"), st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*"))


@given(token=texts, body=st.binary())
def test_no_token_raises_anything_but_a_refusal(token: str, body: bytes) -> None:
    with pytest.raises(SignatureRefused):
        check(token, body=body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(name=st.sampled_from([*REQUIRED_CLAIMS, "iat", "aud"]), value=json_values)
def test_no_claim_of_a_key_holder_raises_anything_but_a_refusal(name: str, value: Any) -> None:
    with suppress(SignatureRefused):
        check(signed(claims(**{name: value})))


@given(
    key=st.sampled_from([CURRENT, NEXT, OTHER]),
    lifetime_s=st.sampled_from([-60, -5, 5, 300]),
    age_s=st.sampled_from([-60, -5, 0, 5]),
    url=st.sampled_from([URL, URL + "/"]),
    text=st.text(),
    signed_text=st.one_of(st.none(), st.text()),
    is_padded=st.booleans(),
)
def test_what_the_receiver_of_the_sdk_accepts_is_accepted(
    key: str,
    lifetime_s: int,
    age_s: int,
    url: str,
    text: str,
    signed_text: str | None,
    is_padded: bool,
) -> None:
    body = text.encode()
    digest = body_hash(body if signed_text is None else signed_text.encode())
    now_s = int(time.time())
    token = signed(
        claims(
            sub=url,
            exp=now_s + lifetime_s,
            iat=now_s - age_s,
            body=digest if is_padded else digest.rstrip("="),
        ),
        key=key,
    )
    try:
        Receiver(CURRENT, NEXT).verify(signature=token, body=text, url=URL)
    except SignatureError:
        return
    assert check(token, body=body)
