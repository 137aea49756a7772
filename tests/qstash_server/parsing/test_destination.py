import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from qstash_server.errors import ApiError, BadRequest
from qstash_server.parsing.destination import is_url, parse_destination, parse_url


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/",
        "http://127.0.0.1:8000/a//b/../c?x=%2F&y=a+b&z",
        "http://[::1]:8000/x",
        "http://[fe80::1%25eth0]/",
        "http://example.com./",
        "https://user:pass@example.com/x",
        "https://example.com/%c3%bc?q=[1]|2",
    ],
)
def test_ascii_url_stays_as_it_is(url: str) -> None:
    assert parse_destination(url) == url


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        ("https://example.com/ü b?c=ä", "https://example.com/%C3%BC%20b?c=%C3%A4"),
        (" https://example.com/x ", "https://example.com/x"),
        ("https://bücher.example:81/x", "https://xn--bcher-kva.example:81/x"),
        ("https://example.com/x?y#part", "https://example.com/x?y"),
        ("https%3A%2F%2Fexample.com%2Fx%3Fy", "https://example.com/x?y"),
    ],
)
def test_other_text_becomes_ascii(raw: str, url: str) -> None:
    assert parse_destination(raw) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://exa mple.com/",
        "https://a\\b.example/",
        "https://%61.example/",
        "https://xn--/",
        "https://exam\tple.com/",
        "https://example.com/\x00",
        "https://[::1",
        "https://é" + "x" * 70 + ".example/",
        "gopher://example.com",
    ],
)
def test_what_cannot_be_called_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match="invalid callback url: "):
        parse_url(url, what="invalid callback url: ")


@settings(deadline=None)
@given(st.text(max_size=30).map("http://".__add__) | st.text(max_size=30))
def test_what_is_accepted_can_be_called(text: str) -> None:
    try:
        url = parse_destination(text)
    except ApiError:
        return
    assert url.isascii()
    if not is_url(url):
        return  # The name of a URL group.
    assert URL(url, encoded=True).host
