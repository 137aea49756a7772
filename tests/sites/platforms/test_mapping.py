import json
from contextlib import suppress

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from sites.platforms import mapping
from sites.platforms.base import BadResponse, Figures, Metric
from sites.platforms.json_api import number


def read(text: str, document: object) -> Figures:
    """Read a document as it comes off the wire."""
    return mapping.read(mapping.parse(text), json.loads(json.dumps(document), parse_float=number))


ORDERS = {
    "orders": [
        {"total": "19.99", "status": "paid", "amount": 19.99},
        {"total": "0.01", "status": "paid", "amount": 0.01},
        {"total": "5.00", "status": "open", "amount": 5.0},
    ],
    "visitors": 42,
    "share": 0.035,
}


def test_counts_money_and_metrics_come_from_their_lines() -> None:
    figures = read(
        """
        # What the shop tells
        visitors = visitors
        sales = length(orders[?status == 'paid'])
        revenue [EUR] = sum(orders[?status == 'paid'].to_number(total))
        bounce_rate [%] = share * 100
        queue [jobs] = visitors
        """,
        ORDERS,
    )
    assert figures == Figures(
        visitors=42,
        sales=2,
        revenue_minor={"EUR": 2000},
        metrics={
            "bounce_rate": Metric(value=3.5, unit="%"),
            "queue": Metric(value=42, unit="jobs"),
        },
    )


def test_currencies_are_kept_apart_and_each_has_its_own_decimals() -> None:
    figures = read(
        "revenue [EUR] = e\nrevenue [JPY] = j\nrevenue [KWD] = k\nrevenue [USD minor] = u",
        {"e": 1.1, "j": 1500, "k": "1.234", "u": 999},
    )
    assert figures.revenue_minor == {"EUR": 110, "JPY": 1500, "KWD": 1234, "USD": 999}


def test_money_in_a_metric_is_whole_minor_units_too() -> None:
    figures = read("mrr [EUR] = m\nfees [EUR minor] = f", {"m": "49.90", "f": 120})
    assert figures.metrics == {
        "mrr": Metric(value=4990, unit="EUR minor"),
        "fees": Metric(value=120, unit="EUR minor"),
    }


def test_three_capitals_that_are_no_currency_are_a_plain_unit() -> None:
    assert read("load [RPM] = n", {"n": 1.5}).metrics == {"load": Metric(value=1.5, unit="RPM")}


def test_sum_of_decimals_has_no_float_error() -> None:
    # As floats these add up to 1000000000000000.0.
    document = json.loads("[0.1, 0.1, 0.1, 999999999999999.71]", parse_float=number)
    figures = mapping.read(mapping.parse("revenue [EUR] = sum(@)"), document)
    assert figures.revenue_minor == {"EUR": 100_000_000_000_000_001}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("orders[?amount == `19.99`] | length(@)", 1),
        ("orders[?amount > `0.01`] | length(@)", 2),
        ("avg(orders[].amount)", number("25") / 3),
        ("max(orders[].amount)", 19.99),
        ("max_by(orders, &amount).amount", 19.99),
        ("sort_by(orders, &amount)[0].amount", 0.01),
        ("ceil(orders[0].amount)", 20),
        ("abs(orders[0].amount)", 19.99),
        ("sum([visitors, `0.5`])", 42.5),
        ("to_number(orders[0].amount)", 19.99),
        ("to_number('not a number') || `7`", 7),
        ("missing || `0`", 0),
        ("length(orders[?type(amount) == 'number'])", 3),
    ],
)
def test_jmespath_works_on_exact_numbers(expression: str, value: float) -> None:
    assert read(f"figure = {expression}", ORDERS).metrics["figure"].value == pytest.approx(
        float(value), rel=1e-15
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("visitors", "name [unit] = expression"),
        ("Visitors = a", "name [unit] = expression"),
        ("visitors =", "name [unit] = expression"),
        ("visitors [people] = a", "takes no unit"),
        ("revenue = a", "revenue [EUR]"),
        ("revenue [EURO] = a", "revenue [EUR]"),
        ("revenue [EUX] = a", "revenue [EUR]"),
        ("figure = a.[", "ends too early"),
        ("figure = a b", "mistake at 'b'"),
        ("figure = a ~ b", "mistake at '~ b'"),
        ("figure = a / 100", "mistake at '/ 100'"),
        ("figure = totals(a)", "no function totals()"),
        ("figure = orders[].totals(a)", "no function totals()"),
        ("figure = " + "a" * 301, "at most 300"),
        ("figure = " + "(" * 200, "the expression"),
        ("f" * 41 + " = a", "at most 40"),
        ("figure [" + "u" * 21 + "] = a", "units 20"),
    ],
)
def test_line_that_cannot_be_read_is_refused_with_its_number(line: str, complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        mapping.parse(f"sales = a\n\n{line}")
    (message,) = caught.value.messages
    assert message.startswith("Line 3: ")
    assert complaint in message


def test_all_wrong_lines_are_told_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        mapping.parse("revenue = a\nsales = b\nsales = c\nfigure = (")
    assert [message[:7] for message in caught.value.messages] == ["Line 1:", "Line 3:", "Line 4:"]


def test_same_figure_twice_is_refused_unless_it_is_revenue_in_two_currencies() -> None:
    assert len(mapping.parse("revenue [EUR] = a\nrevenue [USD] = b")) == 2
    with pytest.raises(ValidationError, match="'revenue' stands on line 1 already"):
        mapping.parse("revenue [EUR] = a\nrevenue [EUR minor] = b")
    with pytest.raises(ValidationError, match="'mrr' stands on line 1 already"):
        mapping.parse("mrr [EUR] = a\nmrr [USD] = b")


def test_number_of_figures_is_bounded() -> None:
    with pytest.raises(ValidationError, match="at most 50"):
        mapping.parse("\n".join(f"figure_{n} = a" for n in range(51)))


@pytest.mark.parametrize(
    ("line", "document", "complaint"),
    [
        ("sales = a", {}, "found nothing"),
        ("sales = a.b.c", [], "found nothing"),
        ("sales = a", {"a": None}, "found nothing"),
        ("sales = a", {"a": True}, "true or false"),
        ("sales = a", {"a": [1]}, "a list"),
        ("sales = a", {"a": {}}, "an object"),
        ("sales = a", {"a": "secret words"}, "not a number"),
        ("sales = a", {"a": "1,299"}, "not a number"),
        ("sales = a", {"a": "NaN"}, "not a number"),
        ("sales = a", {"a": -1}, "a count is"),
        ("sales = a", {"a": 1.5}, "a count is"),
        ("sales = a", {"a": 10**20}, "a count is"),
        ("sales = sum(a)", {"a": ["secret words"]}, "sum()"),
        ("sales = sum(a)", {"a": None}, "sum()"),
        ("sales = abs(a, a)", {"a": 1}, "does not fit"),
        ("sales = contains(a, b)", {"a": "text", "b": 1}, "does not fit"),
        ("sales = length(a[?b < `1`])", {"a": [{"b": "text"}]}, "does not fit"),
        ("sales = &a", {"a": 1}, "not a number"),
        ("revenue [EUR] = a", {"a": 10**17}, "more than 18 digits"),
        ("revenue [EUR minor] = a", {"a": 10**18}, "more than 18 digits"),
        ("figure = a * 100000", {"a": 1e308}, "too large"),
    ],
)
def test_document_that_does_not_fit_is_a_bad_response_naming_line_and_type_but_no_value(
    line: str, document: object, complaint: str
) -> None:
    with pytest.raises(BadResponse, match=r"^line 2 of the figures, '") as caught:
        read(f"# comment\n{line}", document)
    assert complaint in str(caught.value)
    assert "secret words" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
EXPRESSIONS = [
    "a", "a.b", "a[].b", "a[*].b | sum(@)", "sum(a)", "avg(a[])", "max(a)", "min_by(a, &b)",
    "sort_by(a, &b)[0].b", "length(a)", "a[?b > c].b | [0]", "a[?b == `1.5`] | length(@)",
    "to_number(a)", "ceil(a)", "floor(to_number(a))", "abs(a)", "a || b", "a && b", "!a",
    "keys(a) | length(@)", "values(a) | sum(@)", "merge(a, b).c", "contains(a, b)", "join(a, b)",
    "reverse(a)[0]", "sort(a)[0]", "map(&b, a) | [0]", "not_null(a, b, c)", "type(a)",
    "to_string(a) | length(@)", "starts_with(a, b)", "a[1:2:1] | [0]", "a < b", "max(a[].b)",
]  # fmt: skip


@given(st.sampled_from(EXPRESSIONS), JSON, st.sampled_from(["sales", "figure", "revenue [EUR]"]))
def test_no_document_makes_anything_but_figures_or_a_bad_response(
    expression: str, document: object, left: str
) -> None:
    try:
        figures = read(f"{left} = {expression}", document)
    except BadResponse:
        return
    json.dumps(figures.to_json(), allow_nan=False)


@given(st.text(max_size=60))
def test_no_text_makes_anything_but_lines_or_a_validation_error(text: str) -> None:
    for source in (text, f"figure = {text}", f"revenue [EUR] = {text} * 2"):
        with suppress(ValidationError):
            mapping.parse(source)
