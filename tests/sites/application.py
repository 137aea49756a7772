"""The product with chunks and leases small enough for a test, for servers that are killed.

It leaves a sign in the directory SIGNS for each chunk of CHUNK_SIZE that is being worked on. See
test_fan_out.py, which must not import it: what it changes would hold for all other tests.
"""

import os
from dataclasses import replace
from pathlib import Path

import django
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "soloboard.settings")
django.setup()

from scheduling import runner  # noqa: E402
from scheduling.registry import registry  # noqa: E402
from scheduling.run import JobResult, Run  # noqa: E402
from sites import chunks  # noqa: E402
from sites.jobs import sync_one_chunk  # noqa: E402

TIMEOUT_S = 16
LEASE_GRACE_S = 2


def with_sign(run: Run) -> JobResult:
    sign = Path(os.environ["SIGNS"]) / f"{os.environ['SERVER_NAME']}-{run.id}"
    sign.touch()
    try:
        return sync_one_chunk(run)
    finally:
        sign.unlink()


chunks.CHUNK_SIZE = int(os.environ["CHUNK_SIZE"])
runner.LEASE_GRACE_S = LEASE_GRACE_S
job = registry[chunks.SYNC_CHUNK]
registry.unregister(job.key)
registry.register(replace(job, function=with_sign, timeout_s=TIMEOUT_S, retry_delay_ms="1000"))
application = get_wsgi_application()
