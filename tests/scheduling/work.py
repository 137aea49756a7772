"""A job that does what a test tells it to."""

import threading
from collections.abc import Callable
from typing import Any

from scheduling.registry import Job
from scheduling.run import JobResult, Run

WAIT_S = 30
DONE = JobResult(message="Work done", counts={"made": 2, "lost": 0})


class Work:
    """The function of a registered job. `runs` holds what it was given, one entry for each run."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.does: Callable[[Run], JobResult] = lambda run: DONE

    def __call__(self, run: Run) -> JobResult:
        self.runs.append(run)
        return self.does(run)

    def job(self, **fields: Any) -> Job:
        defaults: dict[str, Any] = {
            "key": "tests-work",
            "name": "Work",
            "function": self,
            "path": "tests/work",
            "cron": "0 0 1 1 *",
            "body": {"action": "work"},
        }
        return Job(**{**defaults, **fields})


class Gate:
    """Work that waits in the middle until the test opens it."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, run: Run) -> JobResult:
        self._reached.set()
        assert self._open.wait(WAIT_S), "The test never opened the gate."
        return DONE

    def wait_until_reached(self) -> None:
        assert self._reached.wait(WAIT_S), "No run reached the gate."

    def open(self) -> None:
        self._open.set()


def fail_with(error: BaseException) -> Callable[[Run], JobResult]:
    def work(run: Run) -> JobResult:
        raise error

    return work
