"""PostgreSQL and Valkey of a benchmark's own, and settings that fit them."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from soloboard.local.postgres import Postgres
from soloboard.local.state import State
from soloboard.local.valkey import Valkey
from tests.services import SETTINGS


@contextmanager
def own_services(**settings: str) -> Iterator[None]:
    """Run both in a temporary directory, with the durability that `make run` has, migrated."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        state = State(Path(directory))
        state.create()
        os.environ |= {**SETTINGS, "DJANGO_SETTINGS_MODULE": "soloboard.settings", **settings}
        for service in (Postgres(state), Valkey(state)):
            process = service.start()
            stack.callback(process.stop)
            process.wait_until(service.is_ready)
            os.environ |= service.variables()
        _migrate()
        yield


def _migrate() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
