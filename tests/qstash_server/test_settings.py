from pathlib import Path

import pytest

from qstash_server.errors import StartError
from qstash_server.settings import (
    DEVELOPMENT_KEYS,
    DEVELOPMENT_TOKEN,
    Settings,
    credentials_from,
    port_from,
)

STATE = Path("state")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_public_token_is_fine_on_the_loopback(host: str) -> None:
    Settings(state=STATE, host=host).check()


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104 - it must be refused
        "::",
        "192.168.1.2",
        "example.com",
        "",
    ],
)
def test_public_token_is_refused_elsewhere(host: str) -> None:
    with pytest.raises(StartError, match="set QSTASH_TOKEN to a secret of your own"):
        Settings(state=STATE, host=host).check()
    Settings(state=STATE, host=host, token="made-up").check()


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"port": 65_536}, "port 65536"), ({"token": "  "}, "empty"), ({"token": "x\n"}, "blanks")],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(StartError, match=text):
        Settings(state=STATE, **changes).check()  # type: ignore[arg-type]


def test_credentials_default_to_the_development_ones() -> None:
    assert credentials_from({}) == (DEVELOPMENT_TOKEN, DEVELOPMENT_KEYS)
    token, keys = credentials_from(
        {
            "QSTASH_TOKEN": "mine",
            "QSTASH_CURRENT_SIGNING_KEY": "a",
            "QSTASH_NEXT_SIGNING_KEY": "b",
        }
    )
    assert (token, keys.current, keys.next) == ("mine", "a", "b")


@pytest.mark.parametrize("name", ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"])
def test_half_a_pair_of_keys_is_refused(name: str) -> None:
    with pytest.raises(StartError, match="both"):
        credentials_from({name: "made-up"})


def test_port_of_the_environment() -> None:
    assert port_from({}) == 8080
    assert port_from({"QSTASH_DEV_PORT": "9090"}) == 9090
    with pytest.raises(StartError, match="QSTASH_DEV_PORT"):
        port_from({"QSTASH_DEV_PORT": "http"})
