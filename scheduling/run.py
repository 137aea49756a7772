"""What a job function is given and what it returns."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: Told (done, total) while a job works.
Report = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a job function is given.

    deadline: time.monotonic() by which it should have returned.
    in_process: whether its caller wants all of it done here, and nothing left to messages.
    """

    id: int
    payload: Mapping[str, Any]
    deadline: float
    report: Report
    in_process: bool = False

    @property
    def time_left_s(self) -> float:
        return self.deadline - time.monotonic()


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job function returns.

    counts: figures of the run, answered in this order.
    continuation: the payload of a further message for what the time did not suffice for, or None.
    """

    message: str
    counts: Mapping[str, int]
    continuation: Mapping[str, Any] | None = None
