"""A queue: its messages are delivered in their order, so many at a time."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """A queue as it is stored. parallelism: how many of its messages are served at a time."""

    name: str
    parallelism: int = 1
    paused: bool = False
    created_ms: int = 0
    updated_ms: int = 0
