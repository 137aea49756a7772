from typing import Any

import pytest
from django.core.exceptions import ValidationError

from sites.configuration import clean_credentials, clean_options
from sites.platforms import PLATFORMS

UPTIME, CUSTOM = PLATFORMS["uptime"], PLATFORMS["custom_json"]
BEARER = {"url": "https://example.com/figures", "auth": "bearer", "figures": "visitors = v"}


def complaints(clean: Any, *args: Any) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        clean(*args)
    messages: dict[str, list[str]] = caught.value.message_dict
    return messages


def complete(platform: Any, **options: Any) -> dict[str, Any]:
    return {**platform.options({}), **options}


def test_options_are_stored_clean() -> None:
    options = clean_options(UPTIME, complete(UPTIME, url=" example.com "))
    assert options["url"] == "https://example.com"
    assert options["timeout_s"] == 10
    assert options["follow_redirects"] is True


def test_an_unknown_option_is_refused_by_its_name() -> None:
    messages = complaints(clean_options, UPTIME, complete(UPTIME, url="example.com", uri="x"))
    assert list(messages) == ["uri"]
    assert messages["uri"][0].startswith("There is no such field; there are: url, method")


def test_each_option_that_is_wrong_is_named() -> None:
    messages = complaints(clean_options, UPTIME, complete(UPTIME, url="ftp://a", timeout_s=0))
    assert set(messages) == {"url", "timeout_s"}


def test_an_unknown_credential_is_refused_without_repeating_it() -> None:
    messages = complaints(clean_credentials, UPTIME, {}, {"token": "made-up"}, {})
    assert messages == {"token": ["There is no such field; there are: none."]}


def test_a_credential_that_the_options_need_is_asked_for() -> None:
    options = clean_options(CUSTOM, complete(CUSTOM, **BEARER))
    messages = complaints(clean_credentials, CUSTOM, options, {}, {})
    assert messages == {"secret": ["These options need this credential."]}


@pytest.mark.parametrize("typed", [{}, {"secret": ""}])
def test_what_is_not_typed_stays(typed: dict[str, str]) -> None:
    options = clean_options(CUSTOM, complete(CUSTOM, **BEARER))
    stored = {"secret": "made-up"}
    assert clean_credentials(CUSTOM, options, typed, stored) == stored


@pytest.mark.parametrize("typed", [{}, {"api_key": ""}])
def test_credential_that_is_always_needed_is_not_asked_for_again(typed: dict[str, str]) -> None:
    stored = {"api_key": "made-up"}
    assert clean_credentials(PLATFORMS["stripe"], {}, typed, stored) == stored
    messages = complaints(clean_credentials, PLATFORMS["stripe"], {}, typed, {})
    assert messages == {"api_key": ["These options need this credential."]}


def test_what_is_typed_replaces_what_is_stored() -> None:
    options = clean_options(CUSTOM, complete(CUSTOM, **BEARER))
    typed, stored = {"secret": "newer"}, {"secret": "made-up", "username": "me"}
    credentials = clean_credentials(CUSTOM, options, typed, stored)
    assert credentials == {"secret": "newer", "username": "me"}
