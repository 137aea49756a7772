"""Durations as QStash writes them: 90s, 5m, 1h30m, 2d."""

import re

UNIT_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


class DurationError(ValueError):
    """A text that is no duration; the message says what is."""


def parse_duration_s(text: str) -> int:
    """Read a duration into seconds. A bare number counts seconds.

    Raises DurationError.
    """
    text = text.strip().lower()
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return int(text)
    if not _DURATION.fullmatch(text):
        raise DurationError(
            f"{text!r} is not a duration. Write seconds (90) or parts with a unit: 90s, 5m, 1h30m, 2d."
        )
    return sum(int(number) * UNIT_S[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: int) -> str:
    """Write seconds in the largest units that fit: 5400 is 1h30m, 0 is 0s."""
    parts = []
    for unit, length_s in UNIT_S.items():
        number, seconds = divmod(seconds, length_s)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"
