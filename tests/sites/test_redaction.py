import base64
import json
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st

from sites.redaction import MIN_LENGTH, REDACTED, Redaction

SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=MIN_LENGTH)
OTHERS = st.text("abc /:=&?", max_size=20)


@given(secret=SECRETS, before=OTHERS, after=OTHERS)
def test_a_credential_is_found_in_every_form_it_is_sent_or_quoted_in(
    secret: str, before: str, after: str
) -> None:
    redaction = Redaction([secret])
    for form in (
        secret,
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    ):
        assert form not in redaction.text(f"{before}{form}{after}")


@given(user=st.text("user", max_size=5), secret=SECRETS, after=st.text("xyz", max_size=4))
def test_nothing_to_read_is_left_of_a_credential_in_base64(
    user: str, secret: str, after: str
) -> None:
    encoded = base64.b64encode(f"{user}:{secret}{after}".encode()).decode()
    redacted = Redaction([secret]).text(f"Authorization: Basic {encoded}")
    assert REDACTED in redacted
    assert encoded not in redacted


def test_the_lines_of_a_private_key_are_found_one_by_one() -> None:
    lines = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj" + letter * 20 for letter in "ab"]
    document = json.dumps({"type": "service_account", "private_key": "\n".join(lines)})
    text = Redaction([document]).text(f"cannot read {lines[1]}")
    assert text == f"cannot read {REDACTED}"


def test_names_and_values_of_json_are_redacted_and_numbers_kept() -> None:
    value = {"made-up-secret": [1, None, {"x": "it is made-up-secret."}], "n": 12345678}
    assert Redaction(["made-up-secret", "12345678"]).value(value) == {
        REDACTED: [1, None, {"x": f"it is {REDACTED}."}],
        "n": 12345678,
    }


def test_short_values_are_ordinary_words() -> None:
    assert Redaction(["admin", ""]).text("the admin answered") == "the admin answered"
