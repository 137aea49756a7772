"""The language of `Upstash-Retry-Delay`: arithmetic over `retried`, in milliseconds.

Numbers, `+ - * / %`, parentheses, `retried` (0 before the first retry) and the functions that QStash
documents. The text is compiled to a postfix program and never handed to Python's own parser; its
length and depth are bounded, so no input can hang or exhaust the server.
"""

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from qstash_server.errors import BadRequest

MAX_LENGTH = 256
MAX_DEPTH = 32
MAX_DELAY_MS = 365 * 86_400_000

_SYMBOL = re.compile(
    r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|([-+*/%(),]))", re.ASCII
)


def _round(x: float) -> float:
    """Round half away from zero, as Go and JavaScript users expect; Python rounds half to even."""
    return math.copysign(math.floor(abs(x) + 0.5), x)


def _floor(x: float) -> float:
    return float(math.floor(x))


def _ceil(x: float) -> float:
    return float(math.ceil(x))


@dataclass(frozen=True, kw_only=True)
class _Function:
    apply: Callable[..., float]
    arity: int | None  # None: one or more.


_FUNCTIONS = {
    "pow": _Function(apply=math.pow, arity=2),
    "sqrt": _Function(apply=math.sqrt, arity=1),
    "abs": _Function(apply=abs, arity=1),
    "exp": _Function(apply=math.exp, arity=1),
    "floor": _Function(apply=_floor, arity=1),
    "ceil": _Function(apply=_ceil, arity=1),
    "round": _Function(apply=_round, arity=1),
    "min": _Function(apply=lambda *xs: min(xs), arity=None),
    "max": _Function(apply=lambda *xs: max(xs), arity=None),
}
_BINARY: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
    "%": (2, math.fmod),
}


@dataclass(frozen=True, kw_only=True)
class _Push:
    value: float | None  # None: the number of retries so far.


@dataclass(frozen=True, kw_only=True)
class _Apply:
    function: Callable[..., float]
    count: int


@dataclass(frozen=True, kw_only=True)
class RetryDelay:
    """A compiled expression."""

    program: tuple[_Push | _Apply, ...]

    def delay_ms(self, retried: int) -> int | None:
        """Return the wait before the next retry, between 0 and MAX_DELAY_MS.

        retried: retries made so far, 0 before the first. None where the result is not a number
        (a division by zero, the root of a negative number): the caller falls back to the default.
        """
        try:
            result = self._evaluate(float(retried))
        except OverflowError:
            return MAX_DELAY_MS
        except (ValueError, ZeroDivisionError):
            return None
        if math.isnan(result):
            return None
        return round(min(max(result, 0.0), float(MAX_DELAY_MS)))

    def _evaluate(self, retried: float) -> float:
        stack: list[float] = []
        for step in self.program:
            if isinstance(step, _Push):
                stack.append(retried if step.value is None else step.value)
            else:
                arguments = stack[-step.count :]
                del stack[-step.count :]
                stack.append(step.function(*arguments))
        return stack.pop()


@lru_cache(maxsize=1024)
def parse_retry_delay(text: str) -> RetryDelay:
    """Compile an expression. Raises BadRequest with what is wrong with it."""
    try:
        return RetryDelay(program=_Parser(text).parse())
    except ValueError as error:
        raise BadRequest(
            f"invalid retry delay expression {text[:MAX_LENGTH]!r}: {error}"
        ) from error


class _Parser:
    """Precedence climbing; emits the program while it reads."""

    def __init__(self, text: str) -> None:
        self._symbols: Sequence[str] = _symbols(text)
        self._position = 0
        self._depth = 0
        self._program: list[_Push | _Apply] = []

    def parse(self) -> tuple[_Push | _Apply, ...]:
        self._expression(0)
        if self._peek():
            raise ValueError(f"unexpected {self._peek()!r}")
        return tuple(self._program)

    def _peek(self) -> str:
        return self._symbols[self._position] if self._position < len(self._symbols) else ""

    def _take(self) -> str:
        symbol = self._peek()
        self._position += 1
        return symbol

    def _expect(self, wanted: str) -> None:
        symbol = self._take()
        if symbol != wanted:
            raise ValueError(f"expected {wanted!r}, found {symbol or 'the end'!r}")

    def _expression(self, floor: int) -> None:
        self._operand()
        while (entry := _BINARY.get(self._peek())) and entry[0] > floor:
            self._take()
            precedence, function = entry
            self._expression(precedence)
            self._program.append(_Apply(function=function, count=2))

    def _operand(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        symbol = self._take()
        if symbol == "(":
            self._expression(0)
            self._expect(")")
        elif symbol in ("+", "-"):
            self._operand()
            if symbol == "-":
                self._program.append(_Apply(function=operator.neg, count=1))
        elif symbol[:1].isalpha() or symbol[:1] == "_":
            self._name(symbol)
        else:
            self._number(symbol)
        self._depth -= 1

    def _number(self, symbol: str) -> None:
        if not symbol or symbol in "*/%),":
            raise ValueError(f"expected a number, found {symbol or 'the end'!r}")
        self._program.append(_Push(value=float(symbol)))

    def _name(self, name: str) -> None:
        if name == "retried":
            self._program.append(_Push(value=None))
            return
        if name not in _FUNCTIONS:
            raise ValueError(f"unknown name {name!r}; known are retried, {', '.join(_FUNCTIONS)}")
        function = _FUNCTIONS[name]
        count = self._arguments()
        if function.arity is not None and count != function.arity:
            raise ValueError(f"{name} takes {function.arity} argument(s), not {count}")
        self._program.append(_Apply(function=function.apply, count=count))

    def _arguments(self) -> int:
        self._expect("(")
        count = 1
        self._expression(0)
        while self._peek() == ",":
            self._take()
            self._expression(0)
            count += 1
        self._expect(")")
        return count


def _symbols(text: str) -> list[str]:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    symbols: list[str] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _SYMBOL.match(text, position)
        if match is None:
            raise ValueError(f"unexpected character {text[position:].lstrip()[0]!r}")
        symbols.append(match.group().strip())
        position = match.end()
    return symbols
