"""The one-machine mode: SoloBoard with its own PostgreSQL, Valkey and QStash server.

Nothing here imports Django or its settings: this code makes the values that settings are read from.
"""


class CannotRunError(Exception):
    """SoloBoard cannot run here; the message says why and what to do, in words for its owner."""
