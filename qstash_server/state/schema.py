"""The tables. Each entry of MIGRATIONS takes the file one version up (`PRAGMA user_version`)."""

import sqlite3

from qstash_server.errors import StartError

# A message waits, is delivered, failed or canceled. Failed ones with a dlq_id are the DLQ. Settled
# messages stay for the log, until retention takes them and their events.
_VERSION_1 = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'waiting',
    url TEXT NOT NULL,
    labels TEXT NOT NULL,
    caller_ip TEXT NOT NULL,
    schedule_id TEXT,
    envelope TEXT NOT NULL,
    body BLOB,
    created_ms INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    retried INTEGER NOT NULL,
    settled_ms INTEGER,
    dlq_id TEXT,
    response_status INTEGER,
    response TEXT
);
CREATE INDEX messages_waiting ON messages (due_ms, id) WHERE state = 'waiting';
CREATE INDEX messages_settled ON messages (settled_ms) WHERE settled_ms IS NOT NULL;
CREATE UNIQUE INDEX messages_dlq ON messages (dlq_id) WHERE dlq_id IS NOT NULL;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    message_seq INTEGER NOT NULL REFERENCES messages (seq) ON DELETE CASCADE,
    time_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    detail TEXT
);
CREATE INDEX events_message ON events (message_seq);
CREATE INDEX events_time ON events (time_ms);

CREATE TABLE deduplication (
    key TEXT PRIMARY KEY,
    message_id TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX deduplication_expires ON deduplication (expires_ms);

CREATE TABLE schedules (
    id TEXT PRIMARY KEY,
    cron TEXT NOT NULL,
    delay_s INTEGER NOT NULL,
    envelope TEXT NOT NULL,
    body BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    last_ms INTEGER,
    next_ms INTEGER,
    last_messages TEXT NOT NULL
) WITHOUT ROWID;
"""

# Queues, URL groups and flow control. slot: of a callback, the message whose slot in the queue it uses.
_VERSION_2 = """
ALTER TABLE messages ADD COLUMN topic TEXT;
ALTER TABLE messages ADD COLUMN endpoint TEXT;
ALTER TABLE messages ADD COLUMN queue TEXT;
ALTER TABLE messages ADD COLUMN slot TEXT;
ALTER TABLE messages ADD COLUMN flow_key TEXT;
CREATE INDEX messages_queued ON messages (queue, not_before_ms, seq)
    WHERE state = 'waiting' AND queue IS NOT NULL;
CREATE INDEX messages_of_key ON messages (flow_key) WHERE flow_key IS NOT NULL;

CREATE TABLE queues (
    name TEXT PRIMARY KEY,
    parallelism INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE flow_keys (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    kept INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX flow_keys_updated ON flow_keys (updated_ms) WHERE NOT kept;

CREATE TABLE url_groups (
    name TEXT PRIMARY KEY,
    headers TEXT NOT NULL,
    endpoints TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) WITHOUT ROWID;
"""
MIGRATIONS = (_VERSION_1, _VERSION_2)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file up to this version. Raises StartError if a newer server wrote it."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StartError(
            f"a newer server wrote it (version {version}, this one knows {len(MIGRATIONS)})"
        )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
