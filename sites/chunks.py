"""Handing a sync out in chunks, each a message of its own."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from scheduling.errors import PayloadRefused
from scheduling.qstash import Message, QStashProblem
from scheduling.registry import registry
from scheduling.sync import publish_messages
from sites.models import SyncChunk, SyncLog

logger = logging.getLogger(__name__)

SYNC_CHUNK = "sync-chunk"
#: Sites of one message. A process that is killed holds up so many.
CHUNK_SIZE = 500
#: Messages that are published in one call.
MESSAGES_AT_ONCE = 100


def hand_out(log: SyncLog, site_ids: Sequence[int]) -> list[SyncChunk]:
    """Publish a message for each chunk of the sites. Returns the chunks that QStash did not take."""
    chunks = SyncChunk.objects.bulk_create(
        SyncChunk(log=log, number=number, site_ids=site_ids[start : start + CHUNK_SIZE])
        for number, start in enumerate(range(0, len(site_ids), CHUNK_SIZE))
    )
    for start in range(0, len(chunks), MESSAGES_AT_ONCE):
        messages = [_message(chunk) for chunk in chunks[start : start + MESSAGES_AT_ONCE]]
        try:
            publish_messages(registry[SYNC_CHUNK], messages)
        except QStashProblem as error:
            logger.warning("QStash did not take the chunks of sync %s: %s", log.pk, error)
            return chunks[start:]
    return []


def find_chunk(payload: Mapping[str, Any]) -> SyncChunk | None:
    """The chunk that a message means; None when it is done, or its log was closed without it.

    Raises PayloadRefused.
    """
    if set(payload) != {"log", "chunk"} or not all(map(_is_number, payload.values())):
        raise PayloadRefused("A chunk is named by the numbers 'log' and 'chunk'.")
    chunks = SyncChunk.objects.select_related("log")
    return chunks.filter(log=payload["log"], number=payload["chunk"]).first()


def _is_number(value: object) -> bool:
    # A bool is an int in Python, and true is no number; PostgreSQL's integers end where these do.
    return type(value) is int and 0 <= value < 2**31


def _message(chunk: SyncChunk) -> Message:
    # Installations may share an account, and a database may begin its numbers again.
    opened_at = chunk.log.created_at
    return Message(
        payload={"log": chunk.log_id, "chunk": chunk.number},
        deduplication_id=(
            f"{settings.QSTASH_SCHEDULE_PREFIX}-sync-{chunk.log_id}-{chunk.number}"
            f"-{opened_at:%Y%m%dT%H%M%S%fZ}"
        ),
    )
