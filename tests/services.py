"""Real servers for the tests, and made-up settings, in place before Django reads any.

Loaded with `-p tests.services`. One PostgreSQL and one Valkey serve a whole run, in a temporary
directory, unless DATABASE_URL or REDIS_URL name others; pytest-django makes a database for each
worker of pytest-xdist, and here each gets a Redis database of its own.
"""

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO
from urllib.parse import parse_qsl, urlencode

import pytest

from soloboard.local.postgres import Postgres
from soloboard.local.process import take_over
from soloboard.local.state import State
from soloboard.local.valkey import Valkey

DIRECTORY_PREFIX = "soloboard-tests-"
OWNER_LOCK = "owner.lock"

SETTINGS = {
    "SECRET_KEY": "made-up-for-tests-" + "django-" * 6,
    # The keys are 32 bytes in URL-safe base64.
    "SOLOBOARD_SECRET_KEYS": "bWFkZS11cC1mb3ItdGVzdHMtbm90LWEtc2VjcmV0ISE=",
    "CRON_SECRET": "made-up-cron-secret-for-tests",
    "QSTASH_TOKEN": "made-up-qstash-token-for-tests",
    "QSTASH_CURRENT_SIGNING_KEY": "made-up-current-signing-key-for-tests",
    "QSTASH_NEXT_SIGNING_KEY": "made-up-next-signing-key-for-tests",
    # Port 1 is reserved and closed: what reaches for QStash unasked fails at once.
    "QSTASH_URL": "http://127.0.0.1:1",
    "APP_URL": "http://testserver.example",
    "LOG_FILE": "-",
    # No test asks anybody outside whether the internet is there.
    "NETWORK_PROBES": "-",
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Come before pytest-django, which reads the settings here; a wrapper runs before the rest."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        os.environ["REDIS_URL"] = _redis_url_of(worker)
    else:
        os.environ.update(SETTINGS)
        _start_servers(early_config)
    yield


def _start_servers(config: pytest.Config) -> None:
    # A termination ends the run as Ctrl-C does, servers included.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _remove_leftovers()
    root = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
    stack = ExitStack()
    # A cleanup, unlike pytest_unconfigure, is called even when the configuration fails.
    config.add_cleanup(stack.close)
    stack.enter_context(_own(root))
    # Before the mark is given up: another run that starts just then would take it for a leftover.
    stack.callback(shutil.rmtree, root)
    state = State(root)
    state.create()
    for service, variable in (
        (Postgres(state, durable=False), "DATABASE_URL"),
        (Valkey(state), "REDIS_URL"),
    ):
        if not os.environ.get(variable):
            process = service.start()
            stack.callback(process.stop)
            process.wait_until(service.is_ready)
            os.environ.update(service.variables())


def _own(root: Path) -> IO[bytes]:
    """Mark the directory as in use; the mark appears with the lock already on it."""
    unlocked = root / "owner.new"
    lock = unlocked.open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    unlocked.rename(root / OWNER_LOCK)
    return lock


def _remove_leftovers() -> None:
    """Stop the servers of test runs that were killed, and remove their directories."""
    for path in Path(tempfile.gettempdir()).glob(f"{DIRECTORY_PREFIX}*/{OWNER_LOCK}"):
        # Another run may end just now, and remove its own.
        with suppress(FileNotFoundError), path.open() as lock, suppress(BlockingIOError):
            if os.fstat(lock.fileno()).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                take_over(State(path.parent))
                shutil.rmtree(path.parent)


def _redis_url_of(worker: str) -> str:
    """The Redis database of a worker: that of the run plus the worker's number."""
    address, _, query = os.environ["REDIS_URL"].partition("?")
    options = dict(parse_qsl(query))
    options["db"] = str(int(options.get("db", 0)) + int(worker.removeprefix("gw")))
    return f"{address}?{urlencode(options)}"
