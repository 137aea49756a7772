"""A process that brings learners into the world, as processors.py does; each trains version after version."""

import time
from typing import Any

from scheduling.run import Run
from tests.recommendations.processors import nursery

# Longer than any test: none of these learners sends itself on, each is killed.
RUN_S = 600.0


def live() -> None:
    """Train, go on where a run before stopped, and train again."""
    # Models can be imported only now: Django was set up with the import of the nursery.
    from recommendations.learning import process_user_embeddings

    wish: dict[str, Any] = {"train": True}
    while True:
        deadline = time.monotonic() + RUN_S
        run = Run(id=0, payload=wish, deadline=deadline, report=lambda done, total: None)
        wish = dict(process_user_embeddings(run).continuation or {"train": True})


if __name__ == "__main__":
    nursery(live)
