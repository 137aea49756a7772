"""The settings of the board with the routes of the delivery benchmark."""

from soloboard.settings import *  # noqa: F403

ROOT_URLCONF = "bench.urls"
