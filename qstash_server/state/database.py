"""The SQLite file: one thread that writes in groups, two that read, and a lock against a second server.

A write is on disk when it returns: WAL with synchronous=FULL. An fsync takes as long for a hundred
writes as for one, so the writer commits whatever has queued up while it was busy in one transaction.
"""

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from qstash_server.errors import StartError, StateUnavailable
from qstash_server.state.filters import url_part
from qstash_server.state.schema import migrate

logger = logging.getLogger(__name__)
T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]
Pending = tuple[Job, "asyncio.Future[Any]"]

_GROUP = 512
_READERS = 2
# A long read or a large write makes the WAL grow; this is what it may keep of that.
_LARGEST_IDLE_WAL = 16_000_000
# How long a program that holds the file's lock, a shell in a transaction say, is waited for.
_LOCK_WAIT_S = 2.0


class Database:
    """Opened from inside the event loop that uses it. `write` and `read` may be called at any time."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises StartError with a sentence for the person at the terminal."""
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._lock = _lock(path)
        try:
            self._connection = _open(path)
        except BaseException:
            self._lock.close()
            raise
        self._jobs: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._writer = threading.Thread(
            target=self._write_forever, name="qstash-writer", daemon=True
        )
        self._writer.start()
        self._local = threading.local()
        self._read_connections: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(_READERS, "qstash-reader", self._open_reader)

    def write(self, job: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """Run `job` in a transaction; the future has its result once that is on disk.

        What `job` raises is raised by the future, and nothing of it is kept; StateUnavailable when
        the file cannot be written. Jobs run in the order in which they were handed in.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((job, future))
        return future

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` on a connection that only reads and return its result."""

        def run() -> T:
            try:
                return job(self._local.connection)
            except sqlite3.Error as error:
                raise StateUnavailable(f"the state could not be read: {error}") from error

        return await self._loop.run_in_executor(self._readers, run)

    def close(self) -> None:
        """Write what is queued, then let go of the file. Blocks until that is done."""
        self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown()
        for connection in self._read_connections:
            connection.close()
        # The last connection to close folds the WAL into the file; the lock goes after that.
        self._connection.close()
        self._lock.close()

    def _open_reader(self) -> None:
        connection = _connect(self._path)
        connection.execute("PRAGMA query_only = ON")
        self._local.connection = connection
        self._read_connections.append(connection)

    def _write_forever(self) -> None:
        while True:
            group = self._next_group()
            jobs = [pending for pending in group if pending is not None]
            if jobs:
                self._commit(jobs)
            if len(jobs) < len(group):
                return

    def _next_group(self) -> list[Pending | None]:
        group = [self._jobs.get()]
        with contextlib.suppress(queue.Empty):
            while group[-1] is not None and len(group) < _GROUP:
                group.append(self._jobs.get_nowait())
        return group

    def _commit(self, jobs: list[Pending]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            # None of the jobs is at fault, and to wait for the lock once for each takes for ever.
            self._fail(jobs, error)
            return
        try:
            results = [(future, *self._run(job)) for job, future in jobs]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if len(jobs) == 1:
                self._fail(jobs, error)
                return
            for (
                pending
            ) in jobs:  # Only the job at fault shall fail, a body too big for the disk say.
                self._commit([pending])
            return
        self._loop.call_soon_threadsafe(_resolve, results)

    def _fail(self, jobs: list[Pending], error: sqlite3.Error) -> None:
        logger.error("the state could not be written", exc_info=error)
        text = f"the state could not be written: {error}"
        results = [(future, None, StateUnavailable(text)) for _, future in jobs]
        self._loop.call_soon_threadsafe(_resolve, results)

    def _run(self, job: Job) -> tuple[Any, BaseException | None]:
        """Run one job of a group. What it raises is its own affair, but for errors of the file."""
        self._connection.execute("SAVEPOINT job")
        result, failure = None, None
        try:
            result = job(self._connection)
        except sqlite3.Error:
            raise
        except Exception as error:  # Handed to the caller, who waits for it.
            self._connection.execute("ROLLBACK TO job")
            failure = error
        self._connection.execute("RELEASE job")
        return result, failure


def _resolve(results: Sequence[tuple["asyncio.Future[Any]", Any, BaseException | None]]) -> None:
    for future, result, error in results:
        if future.done():  # The caller was cancelled; the write stands all the same.
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_LOCK_WAIT_S, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.create_function("url_part", 2, url_part, deterministic=True)
    return connection


def _open(path: Path) -> sqlite3.Connection:
    connection = None
    try:
        # Forwarded headers hold the credentials of others: nobody else may read the file. SQLite
        # gives its companion files (-wal, -shm) the same permissions.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        connection = _connect(path)
        # Lets retention give space back to the disk; heeded only before the first table is made.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_IDLE_WAL}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection)
        connection.executescript("BEGIN IMMEDIATE; ROLLBACK;")  # Fails if somebody holds the lock.
    except (sqlite3.Error, OSError, StartError) as error:
        if connection is not None:
            connection.close()
        raise StartError(f"The state {path} cannot be used: {error}") from error
    return connection


def _lock(path: Path) -> sqlite3.Connection:
    """Hold an exclusive lock as long as the returned connection is open; kill -9 releases it too."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            lock_path, isolation_level=None, timeout=0, check_same_thread=False
        )
    except (sqlite3.Error, OSError) as error:
        raise StartError(f"The state {path} cannot be used: {error}.") from error
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")  # Nothing is ever written to this file.
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        raise StartError(
            f"Another server is using the state {path}: stop it, or give --state another file."
        ) from error
    return connection
