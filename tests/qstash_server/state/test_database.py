import asyncio
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from qstash_server.errors import NotFound, StartError, StateUnavailable
from qstash_server.state.database import Database


def add(number: int) -> Callable[[sqlite3.Connection], int]:
    def job(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO settings VALUES (?, '')", (str(number),))
        return number

    return job


def names(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT name FROM settings ORDER BY name")]


def test_concurrent_writes_all_return_their_own_result_and_are_seen_by_readers(
    state: Path,
) -> None:
    async def scene() -> None:
        database = Database(state)
        try:
            results = await asyncio.gather(*(database.write(add(n)) for n in range(300)))
            assert results == list(range(300))
            assert len(await database.read(names)) == 300
        finally:
            database.close()

    asyncio.run(scene())


def test_writes_that_queue_up_share_a_commit(state: Path) -> None:
    async def scene() -> int:
        database = Database(state)
        commits = 0

        def count(statement: str) -> None:
            nonlocal commits
            commits += statement == "COMMIT"

        try:
            database._connection.set_trace_callback(count)
            await asyncio.gather(*(database.write(add(n)) for n in range(300)))
        finally:
            database.close()
        return commits

    assert asyncio.run(scene()) < 100


def test_error_of_one_job_undoes_that_job_only(state: Path) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        add(2)(connection)
        raise NotFound("no")

    async def scene() -> None:
        database = Database(state)
        try:
            results = await asyncio.gather(
                database.write(add(1)),
                database.write(refuse),
                database.write(add(3)),
                return_exceptions=True,
            )
            assert results[0] == 1
            assert isinstance(results[1], NotFound)
            assert await database.read(names) == ["1", "3"]
        finally:
            database.close()

    asyncio.run(scene())


def test_error_of_the_database_fails_the_job_at_fault_and_keeps_the_others(state: Path) -> None:
    async def scene() -> None:
        database = Database(state)
        try:
            results = await asyncio.gather(
                database.write(add(1)),
                database.write(add(1)),
                database.write(add(2)),
                return_exceptions=True,
            )
            assert [type(result) for result in results] == [int, StateUnavailable, int]
            assert await database.read(names) == ["1", "2"]
        finally:
            database.close()

    asyncio.run(scene())


def test_full_disk_is_an_error_for_the_caller_and_leaves_the_file_usable(state: Path) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO settings VALUES ('big', ?)", ("x" * 1_000_000,))

    async def scene() -> None:
        database = Database(state)
        try:
            pages = database._connection.execute("PRAGMA page_count").fetchone()[0]
            database._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
            with pytest.raises(StateUnavailable, match="full"):
                await database.write(fill)
            assert await database.write(add(1)) == 1
        finally:
            database.close()

    asyncio.run(scene())


def test_close_writes_what_is_queued(state: Path) -> None:
    async def scene() -> None:
        database = Database(state)
        for number in range(50):
            database.write(add(number))
        database.close()

    asyncio.run(scene())
    connection = sqlite3.connect(state)
    assert len(names(connection)) == 50
    connection.close()


def test_second_database_on_the_same_file_is_refused_until_the_first_is_closed(
    state: Path,
) -> None:
    async def scene() -> None:
        first = Database(state)
        with pytest.raises(StartError, match="Another server is using the state"):
            Database(state)
        first.close()
        Database(state).close()

    asyncio.run(scene())


def test_file_is_for_its_owner_only(state: Path) -> None:
    async def scene() -> None:
        database = Database(state)
        try:
            await database.write(add(1))
            for path in state.parent.iterdir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600 or path.stat().st_size == 0
        finally:
            database.close()

    asyncio.run(scene())


def test_file_that_is_no_database_is_refused_and_left_alone(state: Path) -> None:
    state.write_text("my diary\n" * 100)

    async def scene() -> None:
        with pytest.raises(StartError, match="cannot be used"):
            Database(state)

    asyncio.run(scene())
    assert state.read_text().startswith("my diary")


def test_folder_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(StartError, match="cannot be used"):
            Database(tmp_path)

    asyncio.run(scene())


def test_state_of_a_newer_server_is_refused(state: Path) -> None:
    async def scene() -> None:
        Database(state).close()
        connection = sqlite3.connect(state)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(StartError, match="newer server"):
            Database(state)

    asyncio.run(scene())
