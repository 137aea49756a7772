"""A Valkey without lists for each test that makes some."""

from collections.abc import Iterator

import pytest

from recommendations import valkey


@pytest.fixture
def no_lists() -> Iterator[None]:
    """Remove what recommendations keep in Valkey, before and after."""
    _remove()
    yield
    _remove()


def _remove() -> None:
    redis = valkey.server()
    keys = list(redis.scan_iter("soloboard:recommend:*"))
    if keys:
        redis.delete(*keys)
