"""The two duration languages on the wire: QStash's own, and Go's in response headers."""

import re
from decimal import Decimal, InvalidOperation

from qstash_server.errors import BadRequest

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?:[0-9]{1,12}[smhd])+")
_PART = re.compile(r"([0-9]+)([smhd])")
LONGEST_S = 100 * 365 * 86_400

_GO_UNIT_S = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # U+00B5, micro sign
    "μs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_GO_DURATION = re.compile(r"(?:[0-9]*\.?[0-9]*(?:ns|us|µs|μs|ms|s|m|h))+")
_GO_PART = re.compile(r"([0-9]*\.?[0-9]*)(ns|us|µs|μs|ms|s|m|h)")
_GO_MAX_LENGTH = 64


def parse_duration_s(text: str, *, what: str) -> int:
    """Return the seconds of a QStash duration such as ``50s`` or ``1d10h30m``.

    what: the header it came from, for the error. Raises BadRequest.
    """
    if not _DURATION.fullmatch(text):
        raise BadRequest(
            f"invalid {what} {text!r}: a duration is one or more numbers with a unit "
            "(s, m, h, d), for example 50s or 1d10h30m"
        )
    total_s = sum(int(number) * _UNIT_S[unit] for number, unit in _PART.findall(text))
    if total_s > LONGEST_S:
        raise BadRequest(f"invalid {what} {text!r}: longer than {LONGEST_S} seconds")
    return total_s


def parse_go_duration_s(text: str) -> float | None:
    """Return the seconds of a Go duration such as ``6m5s`` or ``1.5h``, None if it is not one."""
    if len(text) > _GO_MAX_LENGTH or not _GO_DURATION.fullmatch(text):
        return None
    try:
        return float(sum(Decimal(n) * _GO_UNIT_S[unit] for n, unit in _GO_PART.findall(text)))
    except InvalidOperation:  # A unit without digits, or a lone point.
        return None
