"""A process that brings processors into the world, so that a test may kill one every few milliseconds.

Django is set up once. Then each line on stdin forks a processor, whose number is said on stdout. It
works until it is killed.
"""

import os
import signal
import sys
import time
from collections.abc import Callable

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "soloboard.settings")
django.setup()

from recommendations import processing, queue  # noqa: E402
from scheduling.run import Run  # noqa: E402
from scheduling.runner import SERVICE_AWAY  # noqa: E402

# The lives of these processors are short, and so are their batches.
queue.LEASE_S = 0.2
processing.BATCH_SIZE = 40
RUN_S = 10.0


def live() -> None:
    """Process whatever comes, as one call of the schedule after another."""
    while True:
        deadline = time.monotonic() + RUN_S
        run = Run(id=0, payload={}, deadline=deadline, report=lambda done, total: None)
        try:
            processing.process(run)
        except SERVICE_AWAY:
            django.db.connection.close()
            time.sleep(0.02)


def nursery(live: Callable[[], None]) -> None:
    """Fork a process that lives so for each line that comes."""
    # The dead are many, and nobody asks after them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            sys.stdin.close()
            live()
        print(pid, flush=True)


if __name__ == "__main__":
    nursery(live)
