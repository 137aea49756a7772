"""The settings for the type checker, which reads them without any server."""

import os

from tests.services import SETTINGS

os.environ.update(SETTINGS)
os.environ.setdefault("DATABASE_URL", "postgresql://nobody@localhost/none")
os.environ.setdefault("REDIS_URL", "redis://localhost/0")

from soloboard.settings import *  # noqa: F403
