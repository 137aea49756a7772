"""The jobs of this installation: functions that are called by schedule or by messages of our own,
collected from each app's `jobs.py`.
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules

from scheduling.run import JobResult, Run

JobFunction = Callable[[Run], JobResult]
Method = Literal["GET", "POST"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A function that calls from outside run, and the schedule it proposes for itself.

    key: stable name; part of the schedule's id at QStash.
    path: where its webhook lives below /api/, without slashes at the ends. Jobs may share a path
        when their bodies hold different values of `action`.
    method: of its schedule. A POST runs it in any case, a GET only where this says so.
    cron: five fields, or six with the seconds in front, in `timezone`; "" for a job that has no
        schedule, because other jobs send it messages.
    concurrent: whether several of its runs may be under way at the same time. A schedule's next run
        is skipped while the last one is going; messages that each have their own work are not.
    retry_delay_ms: QStash's expression for the wait before a retry, in milliseconds; "" for its own
        back-off.
    parallelism: how many of its messages QStash delivers at the same time, all instances together;
        None for as many as there are.
    timeout_s: seconds until QStash gives up waiting, and so the time a run may take.
    """

    key: str
    name: str
    function: JobFunction
    path: str
    cron: str = ""
    description: str = ""
    timezone: str = "UTC"
    method: Method = "POST"
    body: Mapping[str, str] = field(default_factory=dict)
    retries: int = 3
    retry_delay_ms: str = ""
    timeout_s: int = 300
    concurrent: bool = False
    parallelism: int | None = None

    @property
    def action(self) -> str | None:
        """What tells this job from others on the same path."""
        return self.body.get("action")

    @property
    def body_text(self) -> str:
        return json.dumps(dict(self.body)) if self.body else ""


class Registry:
    """All registered jobs by key. Refuses two jobs with one key or one address."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def register(self, job: Job) -> None:
        if job.key in self._jobs:
            raise ImproperlyConfigured(
                f"Two jobs are registered as {job.key!r}; give one another key."
            )
        for other in self._jobs.values():
            if (other.path, other.action) == (job.path, job.action):
                raise ImproperlyConfigured(
                    f"The jobs {other.key!r} and {job.key!r} share the path {job.path!r}; "
                    "give each its own 'action' in the body."
                )
        self._jobs[job.key] = job

    def unregister(self, key: str) -> None:
        del self._jobs[key]

    def __getitem__(self, key: str) -> Job:
        return self._jobs[key]

    def get(self, key: str) -> Job | None:
        return self._jobs.get(key)

    def find(self, path: str, action: str | None) -> Job | None:
        """The job that a call of this path means, or None. A path with one job needs no action."""
        jobs = self.at(path)
        if action is None and len(jobs) == 1:
            return jobs[0]
        return next((job for job in jobs if job.action == action), None)

    def at(self, path: str) -> list[Job]:
        return [job for job in self if job.path == path]

    @property
    def scheduled(self) -> list[Job]:
        """Those that propose a schedule."""
        return [job for job in self if job.cron]

    @property
    def paths(self) -> list[str]:
        return sorted({job.path for job in self})

    def __iter__(self) -> Iterator[Job]:
        return iter(sorted(self._jobs.values(), key=lambda job: job.key))


registry = Registry()


def job(
    key: str,
    *,
    name: str,
    path: str,
    cron: str = "",
    description: str = "",
    timezone: str = "UTC",
    method: Method = "POST",
    body: Mapping[str, str] | None = None,
    retries: int = 3,
    retry_delay_ms: str = "",
    timeout_s: int = 300,
    concurrent: bool = False,
    parallelism: int | None = None,
) -> Callable[[JobFunction], JobFunction]:
    """Register a function as a job. The row in the database decides when it runs; this only
    proposes.

    The fields are those of Job. Raises ImproperlyConfigured when the key or the address is taken.
    """

    def register(function: JobFunction) -> JobFunction:
        registry.register(
            Job(
                key=key,
                name=name,
                function=function,
                path=path,
                cron=cron,
                description=description,
                timezone=timezone,
                method=method,
                body=dict(body or {}),
                retries=retries,
                retry_delay_ms=retry_delay_ms,
                timeout_s=timeout_s,
                concurrent=concurrent,
                parallelism=parallelism,
            )
        )
        return function

    return register


@functools.cache
def autodiscover() -> None:
    """Import the `jobs` module of every installed app, once."""
    autodiscover_modules("jobs")
