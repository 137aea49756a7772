import pytest
from hypothesis import given
from hypothesis import strategies as st

from encryption.keyring import DecryptionFailed, Keyring

OLD, NEW = "made-up-old-key-" * 3, "made-up-new-key-" * 3


@given(st.text())
def test_what_was_encrypted_is_read_back(text: str) -> None:
    keyring = Keyring([NEW])
    stored = keyring.encrypt(text)
    assert keyring.decrypt(stored) == text


def test_the_token_does_not_show_the_text() -> None:
    assert "made-up-value" not in Keyring([NEW]).encrypt("made-up-value")


def test_a_rotated_keyring_reads_old_tokens_and_writes_new_ones() -> None:
    stored = Keyring([OLD]).encrypt("made-up-value")
    rotated = Keyring([NEW, OLD])
    assert rotated.decrypt(stored) == "made-up-value"
    assert not rotated.is_newest(stored)
    assert rotated.is_newest(rotated.encrypt("made-up-value"))


def test_a_lost_key_is_named() -> None:
    old = Keyring([OLD])
    with pytest.raises(DecryptionFailed, match=old.newest_key_id):
        Keyring([NEW]).decrypt(old.encrypt("made-up-value"))


def test_an_altered_token_is_refused() -> None:
    keyring = Keyring([NEW])
    stored = keyring.encrypt("made-up-value")
    altered = stored[:-5] + ("A" if stored[-5] != "A" else "B") + stored[-4:]
    with pytest.raises(DecryptionFailed, match="altered"):
        keyring.decrypt(altered)


def test_a_keyring_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        Keyring([])
