"""Figures out of any JSON document: one line of text per figure.

    visitors = stats.today.visitors
    revenue [EUR] = sum(orders[?status == 'paid'].to_number(total))
    error_rate [%] = errors.share * 100

A line is a name, a unit in brackets, a JMESPath expression (jmespath.org) and, as JMESPath knows
no arithmetic, an optional factor. Money is given in units ('EUR') or in minor units ('EUR
minor'); both are kept as whole minor units.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import jmespath
from django.core.exceptions import ValidationError
from jmespath import functions
from jmespath.exceptions import (
    IncompleteExpressionError,
    JMESPathError,
    JMESPathTypeError,
    LexerError,
    ParseError,
)
from jmespath.parser import ParsedResult, Parser

from sites.platforms.base import BadResponse, Figures, Metric
from sites.platforms.json_api import Json, number
from sites.platforms.money import CURRENCIES, exponent, to_minor

COUNTS = ("visitors", "sales")
MAX_LINES = 50
MAX_EXPRESSION_CHARS = 300
MAX_NAME_CHARS = 40
MAX_UNIT_CHARS = 20

_LINE = re.compile(
    r"""
    (?P<name>[a-z][a-z0-9_]*) \s*
    (?:\[ \s* (?P<unit>[^\]]*?) \s* \])? \s*
    = \s* (?P<expression>.+?) \s*
    (?:\s\* \s* (?P<scale>-?\d+(?:\.\d+)?))?
    """,
    re.VERBOSE,
)
_MONEY = re.compile(r"(?P<currency>[A-Z]{3})(?P<minor> minor)?")

# jmespath looks a value's type up by name and knows of no Decimal; without this, sum() and
# sort_by() refuse numbers that were parsed exactly.
functions.TYPES_MAP["Decimal"] = "number"
functions.REVERSE_TYPES_MAP["number"] = ("float", "int", "Decimal")


class _ExactFunctions(functions.Functions):
    """JMESPath's functions where they would fall back on floats."""

    @functions.signature({"types": []})
    def _func_to_number(self, value: Any) -> int | Decimal | None:
        if isinstance(value, str):
            try:
                return number(value)
            except ValueError:
                return None
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        return value if is_number else None

    @functions.signature({"types": []})
    def _func_type(self, value: Any) -> Any:
        return "number" if isinstance(value, Decimal) else super()._func_type(value)  # type: ignore[misc]


_OPTIONS = jmespath.Options(custom_functions=_ExactFunctions())
_FUNCTION_NAMES = frozenset(_ExactFunctions.FUNCTION_TABLE)
_NO_NUMBERS = {bool: "true or false", list: "a list", dict: "an object"}
_LIMIT = 10**18


@dataclass(frozen=True, kw_only=True)
class Line:
    """One parsed line; `currency` is set for money, and then `unit` is '' or 'minor'."""

    line_number: int
    name: str
    unit: str
    currency: str
    scale: Decimal
    expression: ParsedResult = field(repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """What no two lines may share; revenue may have a line for each currency."""
        return self.name, self.currency if self.name == "revenue" else ""


def parse(text: str) -> list[Line]:
    """Parse the lines; blank ones and those that begin with # are passed over.

    Raises ValidationError with a message for each wrong line.
    """
    lines: dict[tuple[str, str], Line] = {}
    errors = []
    for line_number, source in enumerate(text.splitlines(), start=1):
        if not source.strip() or source.lstrip().startswith("#"):
            continue
        try:
            line = _parse_line(line_number, source.strip())
        except ValueError as exc:
            errors.append(f"Line {line_number}: {exc}.")
            continue
        first = lines.setdefault(line.key, line)
        if first is not line:
            errors.append(
                f"Line {line_number}: '{line.name}' stands on line {first.line_number} already."
            )
    if len(lines) > MAX_LINES:
        errors.append(f"There are {len(lines)} figures; at most {MAX_LINES} are read.")
    if errors:
        raise ValidationError(errors)
    return list(lines.values())


def _parse_line(line_number: int, source: str) -> Line:
    match = _LINE.fullmatch(source)
    if not match:
        raise ValueError("write a line as name [unit] = expression * factor")
    name, unit = match["name"], match["unit"] or ""
    if len(name) > MAX_NAME_CHARS or len(unit) > MAX_UNIT_CHARS:
        raise ValueError(
            f"names have at most {MAX_NAME_CHARS} characters and units {MAX_UNIT_CHARS}"
        )
    if name in COUNTS and unit:
        raise ValueError(f"'{name}' is a count and takes no unit")
    money = _MONEY.fullmatch(unit)
    currency = money["currency"] if money and money["currency"] in CURRENCIES else ""
    if name == "revenue" and not currency:
        raise ValueError(
            "'revenue' needs its currency: revenue [EUR] for 12.99, revenue [EUR minor] for 1299"
        )
    return Line(
        line_number=line_number,
        name=name,
        unit=unit,
        currency=currency,
        scale=number(match["scale"] or "1"),
        expression=_compile(match["expression"]),
    )


def _compile(source: str) -> ParsedResult:
    if len(source) > MAX_EXPRESSION_CHARS:
        raise ValueError(f"an expression has at most {MAX_EXPRESSION_CHARS} characters")
    try:
        return ParsedResult(source, _exact(Parser().parse(source).parsed))
    except LexerError as exc:
        raise ValueError(
            f"the expression has a mistake at '{source[exc.lexer_position :]}'"
        ) from exc
    except IncompleteExpressionError as exc:
        raise ValueError("the expression ends too early") from exc
    except ParseError as exc:
        raise ValueError(f"the expression has a mistake at '{source[exc.lex_position :]}'") from exc
    except RecursionError:
        raise ValueError("the expression is nested too deeply") from None


def _exact(node: Json) -> Json:
    """Copy a syntax tree with its literals as exact as the data, and its functions known."""
    if isinstance(node, float):
        return number(repr(node))
    if isinstance(node, list):
        return [_exact(child) for child in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "function_expression" and node.get("value") not in _FUNCTION_NAMES:
        raise ValueError(f"there is no function {node['value']}()")
    return {key: _exact(child) for key, child in node.items()}


def read(lines: Iterable[Line], data: Json) -> Figures:
    """Evaluate the lines on a parsed JSON document. Raises BadResponse naming the line."""
    counts: dict[str, int] = {}
    revenue_minor: dict[str, int] = {}
    metrics: dict[str, Metric] = {}
    for line in lines:
        try:
            value = _evaluate(line, data)
            if line.name in COUNTS:
                counts[line.name] = _count(value)
            elif line.name == "revenue":
                revenue_minor[line.currency] = _minor(line, value)
            else:
                metrics[line.name] = _metric(line, value)
        except ValueError as exc:
            raise BadResponse(
                f"line {line.line_number} of the figures, '{line.name}': {exc}"
            ) from exc
    return Figures(**counts, revenue_minor=revenue_minor, metrics=metrics)


def _evaluate(line: Line, data: Json) -> Decimal:
    """Return a number. The messages tell types, never values: those may be anybody's data."""
    try:
        value = line.expression.search(data, options=_OPTIONS)
    except JMESPathTypeError as exc:
        raise ValueError(
            f"{exc.function_name}() was given a value of type {exc.actual_type}"
        ) from exc
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
    except (JMESPathError, TypeError, ArithmeticError) as exc:
        raise ValueError("the expression does not fit the answer") from exc
    if value is None:
        raise ValueError("the expression found nothing in the answer")
    if words := _NO_NUMBERS.get(type(value)):
        raise ValueError(f"the expression gave {words}, not a number")
    try:
        return number(str(value)) * line.scale
    except ValueError as exc:
        raise ValueError("the expression gave a text that is not a number") from exc


def _count(value: Decimal) -> int:
    if not 0 <= value < _LIMIT or value != round(value):
        raise ValueError("a count is a whole number, not negative")
    return round(value)


def _minor(line: Line, value: Decimal) -> int:
    if line.unit.endswith(" minor"):
        value = value.scaleb(-exponent(line.currency))
    return to_minor(value, line.currency)


def _metric(line: Line, value: Decimal) -> Metric:
    if line.currency:
        return Metric(value=_minor(line, value), unit=f"{line.currency} minor")
    if abs(value) < _LIMIT and value == round(value):
        return Metric(value=round(value), unit=line.unit)
    if math.isinf(float(value)):
        raise ValueError("the number is too large")
    return Metric(value=float(value), unit=line.unit)
