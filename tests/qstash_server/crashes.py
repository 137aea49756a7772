"""A server that is killed again and again, and somebody who publishes to it without a pause."""

import http.client
import json
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import web

from qstash_server.settings import DEVELOPMENT_TOKEN
from tests.qstash_server.fast_server import FastClock
from tests.qstash_server.running import DEADLINE_S, LoopThread, Reply, Sink

ROOT = Path(__file__).parents[2]
FAST_SERVER = "tests.qstash_server.fast_server"
SCHEDULES = 20


class Destination(Sink):
    """Answers each path in its own way, and remembers which messages it has answered with 200."""

    def __init__(self, loop: LoopThread, luck: random.Random) -> None:
        super().__init__(loop)
        self._luck = luck
        self.delivered: set[str] = set()

    async def _start(self) -> None:
        await super()._start()
        self.reply("/dead", Reply(status=500))
        self.reply("/slow", Reply(delay_s=0.2))
        for path in ("/flaky", "/queued"):
            self.reply(path, *(Reply(status=self._luck.choice((200, 503))) for _ in range(10_000)))

    async def _receive(self, request: web.Request) -> web.Response:
        response = await super()._receive(request)
        if response.status == 200:
            self.delivered.add(request.headers["Upstash-Message-Id"])
        return response


class Victim:
    """The server as a child process on one state. url: None while nothing answers.

    killed_ms: the instants of the kills, by the clock of the server.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._epoch_ms = time.time_ns() // 1_000_000
        self._start_s = 0.5
        self._process: subprocess.Popen[str] | None = None
        self.clock = FastClock(self._epoch_ms)
        self.url: str | None = None
        self.killed_ms: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def live_and_die(self, luck: random.Random) -> None:
        """Start the server and kill it, a third of the time before it answers or just then."""
        in_start = luck.random() < 1 / 3
        life_s = self._start_s * luck.uniform(0.3, 1.2) if in_start else luck.uniform(0.3, 1.5)
        self.start(life_s)
        time.sleep(max(0.0, self._started + life_s - time.monotonic()))
        self.kill()

    def start(self, patience_s: float = DEADLINE_S) -> None:
        """Start the server; return when it answers, or after `patience_s`."""
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", FAST_SERVER, str(self._state), str(self._epoch_ms)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if select.select([self._process.stdout], [], [], patience_s)[0]:
            line = self._process.stdout.readline()
            assert line, f"the server ended with exit code {self._process.wait()}"
            self._start_s = time.monotonic() - self._started
            self.url = line.strip()

    def kill(self) -> None:
        assert self._process is not None
        with self._process as process:
            self._process, self.url = None, None
            ended = process.poll()
            process.kill()
        assert ended is None, f"the server has ended on its own with exit code {ended}"
        self.killed_ms.append(self.clock.now_ms())

    def get(self, path: str) -> Any:
        assert self.url is not None
        return request(self.url, "GET", path)

    def listed(self, path: str, name: str) -> list[Any]:
        """Return all pages of a listing."""
        page = self.get(path)
        items: list[Any] = page[name]
        while "cursor" in page:
            page = self.get(f"{path}{'&' if '?' in path else '?'}cursor={page['cursor']}")
            items += page[name]
        return items


class Publisher:
    """A thread that sends whatever a server accepts. accepted, schedules: the acknowledged ids.

    failure: what ended the thread, if anything but `stop` did.
    """

    def __init__(self, victim: Victim, destination: str, luck: random.Random) -> None:
        self._victim = victim
        self._destination = destination
        self._luck = luck
        self._numbers = count()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._kinds: list[Callable[[str], None]] = [self._single, self._batch, self._schedule]
        self.accepted: set[str] = set()
        self.schedules: set[str] = set()
        self.failure: AssertionError | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        while not self._stopped.wait(0.005):
            url = self._victim.url
            if url is None:
                continue
            try:
                self._luck.choice(self._kinds)(url)
            except (OSError, http.client.HTTPException):
                continue  # Killed before it had acknowledged: whatever it did, it owes nothing.
            except AssertionError as error:
                self.failure = error
                return

    def _single(self, url: str) -> None:
        item = self._item()
        way = f"enqueue/{item['queue']}" if item["queue"] else "publish"
        path = f"/v2/{way}/{item['destination']}"
        answer = request(url, "POST", path, item["body"], item["headers"])
        self.accepted.add(answer["messageId"])

    def _batch(self, url: str) -> None:
        items = [self._item() for _ in range(self._luck.randint(1, 10))]
        for answer in request(url, "POST", "/v2/batch", json.dumps(items), {}):
            self.accepted.add(answer["messageId"])

    def _schedule(self, url: str) -> None:
        if len(self.schedules) < SCHEDULES:
            headers = {"Upstash-Cron": "* * * * *"}
            answer = request(
                url, "POST", f"/v2/schedules/{self._destination}/scheduled", "x", headers
            )
            self.schedules.add(answer["scheduleId"])

    def _item(self) -> dict[str, Any]:
        """Return a message of one of the kinds that there are, as a batch has it."""
        path, headers = self._luck.choice(
            [
                ("/queued", {"Upstash-Retries": "9", "Upstash-Retry-Delay": "500"}),
                ("/ok", {}),
                ("/ok", {"Upstash-Delay": f"{self._luck.randint(1, 90)}s"}),
                ("/slow", {}),
                ("/flaky", {"Upstash-Retries": "2"}),
                ("/flaky", {"Upstash-Retries": "5", "Upstash-Retry-Delay": "1000 * retried"}),
                ("/dead", {"Upstash-Retries": "0"}),
            ]
        )
        return {
            "destination": self._destination + path,
            "body": str(next(self._numbers)),
            "headers": headers,
            "queue": "line" if path == "/queued" else None,
        }


def request(
    url: str, method: str, path: str, body: str | None = None, headers: Mapping[str, str] = {}
) -> Any:
    """Return what is answered, which is JSON with the status 200."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=DEADLINE_S)
    try:
        sent = {"Authorization": f"Bearer {DEVELOPMENT_TOKEN}", **headers}
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, (method, path, response.status, content)
        return json.loads(content)
    finally:
        connection.close()
