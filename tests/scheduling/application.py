"""The product for a server of its own, with a job that waits and uses the services when it is told to.

For tests that kill the process or stop its services; see `server.py`.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "soloboard.settings")
django.setup()

from django.core.cache import cache  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402

from scheduling.registry import registry  # noqa: E402
from scheduling.run import JobResult, Run  # noqa: E402
from tests.scheduling.work import DONE, WAIT_S, Work  # noqa: E402


def use_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def use_cache() -> None:
    cache.set("tests-work", 1)


SERVICES: dict[str, Callable[[], None]] = {"database": use_database, "cache": use_cache}


def work(run: Run) -> JobResult:
    """Wait in the middle if the payload names a directory for the signs, then use a service."""
    if signs := run.payload.get("signs"):
        _wait(Path(signs))
    if service := run.payload.get("use"):
        SERVICES[service]()
    return DONE


def _wait(signs: Path) -> None:
    (signs / "reached").touch()
    deadline = time.monotonic() + WAIT_S
    while not (signs / "open").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("The test never opened the gate.")
        time.sleep(0.01)


# Before anything imports the routes, which are made from the registry.
_job = Work()
_job.does = work
registry.register(_job.job())
application = get_wsgi_application()
