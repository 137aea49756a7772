"""Real processors, killed at any instant, two at a time, over services that stop: each action counts
once.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from soloboard.local.postgres import Postgres
from soloboard.local.process import Process
from soloboard.local.state import State
from soloboard.local.valkey import Valkey
from tests.recommendations.conftest import entry

PROJECT = Path(__file__).resolve().parents[2]
WAIT_S = 60
COUNT_BY_ITEM = "SELECT item_id, count(*) FROM user_actions GROUP BY item_id"


class Service:
    """A server of this test alone, to stop and start."""

    def __init__(self, server: Postgres | Valkey, stack: ExitStack) -> None:
        self._server = server
        self._stack = stack
        self.url = server.url()
        self.start()

    def start(self) -> None:
        self._process: Process = self._server.start()
        self._stopping = self._stack.enter_context(ExitStack())
        self._stopping.callback(self._process.stop)
        self._process.wait_until(self._server.is_ready)

    def stop(self) -> None:
        self._stopping.close()


class World:
    """Services, producers and a nursery of processors."""

    def __init__(self, postgres: Service, valkey: Service) -> None:
        self.postgres = postgres
        self.valkey = valkey
        self.expected: Counter[str] = Counter()
        self.unreadable = 0
        self._random = random.Random(7)  # noqa: S311 - not a secret
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.recommendations.processors"],
            cwd=PROJECT,
            env={
                **os.environ, "DATABASE_URL": postgres.url, "REDIS_URL": valkey.url, "LOG_FILE": "-",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self._alive: list[int] = []

    def bear(self) -> int:
        """Start a processor; returns its number."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write("\n")
        self._nursery.stdin.flush()
        self._alive.append(int(self._nursery.stdout.readline()))
        return self._alive[-1]

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self._alive.remove(pid)

    def close(self) -> None:
        for pid in list(self._alive):
            self.kill(pid)
        with self._nursery:
            self._nursery.terminate()

    def produce(self, count: int) -> None:
        """Push so many actions: with and without ids, some of them twice, some that are none."""
        with Redis.from_url(self.valkey.url) as redis:
            for number in range(count):
                item = f"i{self._random.randrange(50)}"
                times = self._random.choice([1, 1, 1, 2, 3])
                if self._random.random() < 0.5:
                    text = json.dumps(entry(item_id=item, id=f"a{number}"))
                    self.expected[item] += 1
                else:
                    text = json.dumps(entry(item_id=item))
                    self.expected[item] += times
                redis.rpush("pending_user_actions", *[text] * times)
                if number % 10 == 0:
                    redis.rpush("pending_user_actions", b"{not json %d" % number)
                    self.unreadable += 1

    def wait_until_empty(self) -> None:
        deadline = time.monotonic() + WAIT_S
        with Redis.from_url(self.valkey.url) as redis:
            while redis.keys("pending_user_actions*"):
                assert time.monotonic() < deadline, "The queue was never empty."
                time.sleep(0.05)

    def assert_each_counted_once(self) -> None:
        with psycopg.connect(self.postgres.url) as database:
            found: dict[str, int] = dict(database.execute(COUNT_BY_ITEM).fetchall())
            quarantined = database.execute("SELECT count(*) FROM quarantined_actions").fetchone()
        assert found == self.expected
        assert quarantined == (self.unreadable,)


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        state = State(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        state.create()
        postgres = Service(Postgres(state, durable=False), stack)
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--skip-checks", "--verbosity", "0"],
            cwd=PROJECT,
            env={**os.environ, "DATABASE_URL": postgres.url, "LOG_FILE": "-"},
            check=True,
        )
        world = World(postgres, Service(Valkey(state), stack))
        stack.callback(world.close)
        yield world


@contextmanager
def producing(world: World, count: int) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=world.produce, args=[count])
    thread.start()
    yield thread
    thread.join()


def test_processors_that_are_killed_at_random_instants_count_each_action_once(
    world: World,
) -> None:
    moments = random.Random(11)  # noqa: S311 - not a secret
    kills = 0
    with producing(world, 6_000) as producer:
        while producer.is_alive() or kills < 60:
            # Two at a time: while one dies the other may hold the same claim.
            pids = [world.bear(), world.bear()]
            for pid in pids:
                time.sleep(moments.uniform(0.01, 0.12))
                world.kill(pid)
                kills += 1
    world.bear()
    world.bear()
    world.wait_until_empty()
    world.assert_each_counted_once()


def test_a_database_that_restarts_half_way_costs_nothing(world: World) -> None:
    with producing(world, 6_000) as producer:
        world.bear()
        world.bear()
        while producer.is_alive():
            time.sleep(0.3)
            world.postgres.stop()
            time.sleep(0.3)
            world.postgres.start()
    world.wait_until_empty()
    world.assert_each_counted_once()
