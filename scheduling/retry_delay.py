"""The language in which QStash is told how long to wait before a retry, in milliseconds.

Numbers, + - * /, parentheses, the variable `retried` (0 before the first retry) and eight
functions; see https://upstash.com/docs/qstash/features/retry. It is checked here and evaluated by
QStash.
"""

import ast
import re

MAX_LENGTH = 200
FUNCTIONS = {"pow", "sqrt", "abs", "exp", "floor", "ceil", "round", "min", "max"}
#: Forms of numbers that Python knows and the language does not: 0x1f, 1_000, 2j.
_PYTHON_NUMBER = re.compile(r"\b0[xob]|_|\dj", re.IGNORECASE)
ALLOWED = (
    "Write milliseconds, for instance 60000 for one minute, or an expression of numbers, + - * /, "
    f"parentheses, retried, and {', '.join(sorted(FUNCTIONS))}: min(600000, 1000 * pow(2, retried))."
)


class RetryDelayError(ValueError):
    """An expression that QStash would refuse; the message says what is allowed."""


def check_retry_delay(text: str) -> None:
    """Raise RetryDelayError unless the text is an expression of the language. Nothing is evaluated."""
    if len(text) > MAX_LENGTH:
        raise RetryDelayError(f"The retry delay is longer than {MAX_LENGTH} characters. {ALLOWED}")
    if _PYTHON_NUMBER.search(text):
        raise RetryDelayError(f"Write plain decimal numbers. {ALLOWED}")
    try:
        # The language is a subset of Python's expressions, so Python's own parser reads it, and the
        # walk below admits only the nodes of that subset.
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RetryDelayError(f"{text!r} is not an expression. {ALLOWED}") from error
    _check(tree.body)


def _check(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return
        case ast.Name(id="retried"):
            return
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
            _check(node.left)
            _check(node.right)
        case ast.UnaryOp(op=ast.UAdd() | ast.USub()):
            _check(node.operand)
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS and node.args:
            for argument in node.args:
                _check(argument)
        case _:
            raise RetryDelayError(f"{ast.unparse(node)!r} is not part of the language. {ALLOWED}")
