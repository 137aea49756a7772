"""Flow control: how many calls of one key may be under way, and how many may start in a period."""

import re
from dataclasses import dataclass, replace
from typing import Any

from qstash_server.errors import BadRequest
from qstash_server.parsing.durations import parse_duration_s

LONGEST_PERIOD_S = 7 * 86_400
MOST = 1_000_000
# Clients put the key unescaped into paths such as /v2/flowControl/{key}/pause.
_KEY = re.compile(r"[!-~]{1,512}")
_NOT_IN_PATHS = "/?#%"
_VALUE = "Upstash-Flow-Control-Value"


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowControl:
    """What a message asks for. parallelism and rate: None where nothing is limited.

    rate: starts within `period_s`.
    """

    key: str
    parallelism: int | None = None
    rate: int | None = None
    period_s: int = 1

    @property
    def limits(self) -> bool:
        """Whether it says anything about the key; without that, the limits of before stay."""
        return self.parallelism is not None or self.rate is not None

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "parallelism": self.parallelism,
            "rate": self.rate,
            "periodS": self.period_s,
        }

    @staticmethod
    def from_json(value: dict[str, Any] | None) -> "FlowControl | None":
        if value is None:
            return None
        return FlowControl(
            key=value["key"],
            parallelism=value["parallelism"],
            rate=value["rate"],
            period_s=value["periodS"],
        )


def parse_flow_control(key: str | None, value: str | None) -> FlowControl | None:
    """Return what the two headers ask for: `parallelism=3, rate=4, period=2s`, any part of it.

    Raises BadRequest.
    """
    if key is None:
        if value is not None:
            raise BadRequest(f"{_VALUE} needs Upstash-Flow-Control-Key beside it")
        return None
    check_key(key)
    parts = dict(_part(text) for text in (value or "").split(",") if text.strip())
    rate = parts.get("rate", parts.get("ratepersecond"))
    return FlowControl(
        key=key,
        parallelism=parse_limit(parts["parallelism"], "parallelism")
        if "parallelism" in parts
        else None,
        rate=None if rate is None else parse_limit(rate, "rate"),
        period_s=parse_period_s(parts.get("period", "1s")),
    )


def check_key(key: str) -> None:
    """Raise BadRequest for a key that could not be named in a path."""
    if not _KEY.fullmatch(key) or any(c in key for c in _NOT_IN_PATHS):
        raise BadRequest(
            f"invalid flow control key {key!r}: up to 512 visible ASCII characters "
            f"but {' '.join(_NOT_IN_PATHS)}"
        )


def _part(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name = name.strip().lower()
    if not equals or name not in ("parallelism", "rate", "ratepersecond", "period"):
        raise BadRequest(
            f"invalid {_VALUE} part {text.strip()!r}: it should be either rate=X or parallelism=Y, "
            "or both as comma-separated values, and period=Z beside a rate"
        )
    return name, value.strip()


def parse_limit(text: str, name: str) -> int:
    """Return a parallelism or rate. Raises BadRequest unless it is a whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MOST):
        raise BadRequest(f"invalid {name} {text!r}: a whole number from 1 to {MOST}")
    return int(text)


def parse_period_s(text: str) -> int:
    """Return the seconds of a period: a duration, or bare seconds. Raises BadRequest."""
    if text.isascii() and text.isdigit():
        text += "s"
    period_s = parse_duration_s(text, what="period")
    if not 1 <= period_s <= LONGEST_PERIOD_S:
        raise BadRequest(f"invalid period {text!r}: from 1s to {LONGEST_PERIOD_S // 86_400}d")
    return period_s


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowKey:
    """What holds for a key: the limits published last, unless others are pinned, and a pause.

    reset_ms: starts before this Unix time no longer count for the rate.
    """

    key: str
    parallelism: int | None = None
    rate: int | None = None
    period_s: int = 1
    pinned_parallelism: int | None = None
    pinned_rate: int | None = None
    pinned_period_s: int = 1
    paused: bool = False
    reset_ms: int = 0

    @property
    def max_parallelism(self) -> int | None:
        return self.pinned_parallelism or self.parallelism

    @property
    def max_rate(self) -> int | None:
        return self.pinned_rate or self.rate

    @property
    def max_rate_period_s(self) -> int:
        return self.pinned_period_s if self.pinned_rate else self.period_s

    def published(self, asked: FlowControl) -> "FlowKey":
        """Return the key after a message with these limits; one that names none changes nothing."""
        if not asked.limits:
            return self
        return replace(
            self, parallelism=asked.parallelism, rate=asked.rate, period_s=asked.period_s
        )
