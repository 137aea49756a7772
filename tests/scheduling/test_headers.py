import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduling.headers import HeaderError, format_headers, parse_headers


def test_lines_become_headers() -> None:
    assert parse_headers("X-One: 1\n\n  X-Two:  a: b \n") == {"X-One": "1", "X-Two": "a: b"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("X-One", "Line 1: write a header as"),
        ("X-One: 1\nX Two: 2", "Line 2: 'X Two' is not a header name"),
        ("X-One: 1\nx-one: 2", "Line 2: x-one is there twice"),
        ("Upstash-Retries: 5", "belongs to QStash"),
        ("X-One: ü", "printable ASCII"),
        (": 1", "is not a header name"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(HeaderError, match=complaint):
        parse_headers(text)


def test_a_refusal_never_repeats_the_value() -> None:
    with pytest.raises(HeaderError) as caught:
        parse_headers("X-Key: geheim-ü")
    assert "geheim" not in str(caught.value)


names = st.from_regex(r"X-[A-Za-z0-9-]{1,20}", fullmatch=True)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)


@given(st.dictionaries(names, values, max_size=5))
def test_formatted_headers_are_read_back(headers: dict[str, str]) -> None:
    folded = {name.lower() for name in headers}
    if len(folded) == len(headers):
        assert parse_headers(format_headers(headers)) == headers


@given(st.text(max_size=200))
def test_no_accepted_text_can_inject_a_header(text: str) -> None:
    try:
        headers = parse_headers(text)
    except HeaderError:
        return
    assert not any("\r" in part or "\n" in part for pair in headers.items() for part in pair)
