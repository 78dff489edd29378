"""Reads and writes the server's SQLite file: topics, subscriptions, payloads, open deliveries.

A payload is stored once, whatever the number of subscriptions; a row of `deliveries` says that a
subscription still waits for a message. The row of a message goes with its last delivery.

Message ids are given in commit order, so "the messages after id X" is a stable question.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DATABASE_FILE = "journal.sqlite3"

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE topics (
    topic_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    config BLOB NOT NULL
);
CREATE TABLE subscriptions (
    subscription_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    topic_id INTEGER NOT NULL,
    config BLOB NOT NULL
);
CREATE INDEX subscriptions_by_topic ON subscriptions (topic_id);
CREATE TABLE dropped_subscriptions (
    subscription_id INTEGER PRIMARY KEY,
    topic_id INTEGER NOT NULL
);
CREATE TABLE messages (
    message_id INTEGER PRIMARY KEY,
    publish_time_us INTEGER NOT NULL,
    size INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE TABLE deliveries (
    subscription_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (subscription_id, message_id)
) WITHOUT ROWID;
CREATE TABLE high_water (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    message_id INTEGER NOT NULL
);
INSERT INTO high_water VALUES (1, 0);
"""

_INSERT_MESSAGE = (
    "INSERT INTO messages (message_id, publish_time_us, size, payload) VALUES (?, ?, ?, ?)"
)
_PAGE_BYTES = 16384
_WAL_KEPT_BYTES = 64 * 1024 * 1024
_VACUUM_FROM_FREE_BYTES = 64 * 1024 * 1024
_VACUUM_STEP_PAGES = 1024
_CLEANUP_STEP_ROWS = 5000
_MAX_ROWS_PER_INSERT = 512


@dataclass(frozen=True, slots=True)
class StoredTopic:
    """A topic as journalled; `config` is the serialised Topic resource."""

    topic_id: int
    name: str
    config: bytes


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """A subscription as journalled; `config` is the serialised Subscription resource."""

    subscription_id: int
    name: str
    topic_id: int
    config: bytes


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A payload (serialised PubsubMessage without id and time) and its publish time [µs, UTC]."""

    publish_time_us: int
    payload: bytes


class Journal:
    """The SQLite file of one server.

    Writing methods belong to one thread and run inside `transaction()`; reading methods may be
    called from any thread and see committed rows only. Everything raises sqlite3.Error when the
    disk refuses.
    """

    def __init__(self, directory: Path) -> None:
        """Open or create the journal in an existing `directory`."""
        path = directory / DATABASE_FILE
        self._writer = self._connect(path)
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._writer.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
            )
        elif version != _SCHEMA_VERSION:
            self._writer.close()
            raise sqlite3.DatabaseError(
                f"{path} has journal version {version}, this server reads {_SCHEMA_VERSION}"
            )
        self._reader = self._connect(path)
        self._reader.execute("PRAGMA query_only = ON")
        self._reader_lock = threading.Lock()

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=30
        )
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        return connection

    def close(self) -> None:
        """Fold the write-ahead log into the database and close both connections."""
        with self._reader_lock:
            self._reader.close()
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the writes inside durable together, or none of them."""
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def add_topic(self, name: str, config: bytes) -> StoredTopic:
        """Insert a topic and return it with its never reused id."""
        cursor = self._writer.execute(
            "INSERT INTO topics (name, config) VALUES (?, ?)", (name, config)
        )
        return StoredTopic(int(cursor.lastrowid or 0), name, config)

    def remove_topic(self, topic_id: int) -> None:
        """Remove a topic; its subscriptions keep their open deliveries."""
        self._writer.execute("DELETE FROM topics WHERE topic_id = ?", (topic_id,))

    def add_subscription(self, name: str, topic_id: int, config: bytes) -> StoredSubscription:
        """Insert a subscription and return it with its never reused id."""
        cursor = self._writer.execute(
            "INSERT INTO subscriptions (name, topic_id, config) VALUES (?, ?, ?)",
            (name, topic_id, config),
        )
        return StoredSubscription(int(cursor.lastrowid or 0), name, topic_id, config)

    def remove_subscription(self, subscription_id: int) -> None:
        """Remove a subscription; `housekeep` removes its deliveries step by step."""
        self._writer.execute(
            "INSERT INTO dropped_subscriptions SELECT subscription_id, topic_id"
            " FROM subscriptions WHERE subscription_id = ?",
            (subscription_id,),
        )
        self._writer.execute(
            "DELETE FROM subscriptions WHERE subscription_id = ?", (subscription_id,)
        )

    def append(
        self,
        subscription_ids: Sequence[int],
        first_message_id: int,
        publish_time_us: int,
        payloads: Sequence[bytes],
    ) -> None:
        """Store `payloads` under consecutive ids, to be delivered to each subscription.

        Without subscriptions nothing is stored and only the ids are used up.
        """
        last_message_id = first_message_id + len(payloads) - 1
        if subscription_ids:
            self._insert_messages(first_message_id, publish_time_us, payloads)
        for subscription_id in subscription_ids:
            self._writer.execute(
                "INSERT INTO deliveries SELECT ?, message_id, size FROM messages"
                " WHERE message_id BETWEEN ? AND ?",
                (subscription_id, first_message_id, last_message_id),
            )
        self._writer.execute("UPDATE high_water SET message_id = ?", (last_message_id,))

    def _insert_messages(
        self, first_message_id: int, publish_time_us: int, payloads: Sequence[bytes]
    ) -> None:
        # One statement for many rows: executemany gives up the interpreter lock per row, and
        # under load each of those hand-overs can cost a whole switch interval. Powers of two
        # keep the number of distinct, cached statements small.
        start = 0
        while start < len(payloads):
            rows = min(_MAX_ROWS_PER_INSERT, 1 << (len(payloads) - start).bit_length() - 1)
            values: list[int | bytes] = []
            for offset in range(start, start + rows):
                payload = payloads[offset]
                values += (first_message_id + offset, publish_time_us, len(payload), payload)
            self._writer.execute(_INSERT_MESSAGE + ", (?, ?, ?, ?)" * (rows - 1), values)
            start += rows

    def settle(self, subscription_id: int, topic_id: int, message_ids: Sequence[int]) -> None:
        """Forget acknowledged deliveries, and each message no subscription waits for any more."""
        ids = json.dumps(message_ids)
        self._writer.execute(
            "DELETE FROM deliveries WHERE subscription_id = ?"
            " AND message_id IN (SELECT value FROM json_each(?))",
            (subscription_id, ids),
        )
        self._writer.execute(
            "DELETE FROM messages WHERE message_id IN (SELECT value FROM json_each(?))"
            " AND NOT EXISTS (SELECT 1 FROM subscriptions CROSS JOIN deliveries"
            " USING (subscription_id) WHERE subscriptions.topic_id = ?"
            " AND deliveries.message_id = messages.message_id)",
            (ids, topic_id),
        )

    def housekeep(self) -> bool:
        """Do one short step of cleaning up, outside a transaction; True when more is left.

        First the deliveries of dropped subscriptions go, then free pages go back to the file
        system once they are many and make up half of the file.
        """
        dropped = self._writer.execute(
            "SELECT subscription_id, topic_id FROM dropped_subscriptions LIMIT 1"
        ).fetchone()
        if dropped is not None:
            self._clean_dropped(*dropped)
            return True
        (free_pages,) = self._writer.execute("PRAGMA freelist_count").fetchone()
        (all_pages,) = self._writer.execute("PRAGMA page_count").fetchone()
        if free_pages * _PAGE_BYTES < _VACUUM_FROM_FREE_BYTES or free_pages * 2 < all_pages:
            return False
        self._writer.execute(f"PRAGMA incremental_vacuum({_VACUUM_STEP_PAGES})").fetchall()
        return True

    def _clean_dropped(self, subscription_id: int, topic_id: int) -> None:
        rows = self._writer.execute(
            "SELECT message_id FROM deliveries WHERE subscription_id = ? LIMIT ?",
            (subscription_id, _CLEANUP_STEP_ROWS),
        ).fetchall()
        with self.transaction():
            if rows:
                self.settle(subscription_id, topic_id, [message_id for (message_id,) in rows])
            else:
                self._writer.execute(
                    "DELETE FROM dropped_subscriptions WHERE subscription_id = ?",
                    (subscription_id,),
                )

    def _read(self, sql: str, values: Sequence[int | str] = ()) -> list[tuple]:
        with self._reader_lock:
            return self._reader.execute(sql, values).fetchall()

    def topics(self) -> list[StoredTopic]:
        """Return all topics."""
        return [StoredTopic(*row) for row in self._read("SELECT * FROM topics")]

    def subscriptions(self) -> list[StoredSubscription]:
        """Return all subscriptions, those of deleted topics too."""
        return [StoredSubscription(*row) for row in self._read("SELECT * FROM subscriptions")]

    def last_message_id(self) -> int:
        """Return the highest message id ever given, 0 at first."""
        return int(self._read("SELECT message_id FROM high_water")[0][0])

    def open_deliveries(self, subscription_id: int) -> int:
        """Return how many messages the subscription still waits for."""
        return int(
            self._read(
                "SELECT count(*) FROM deliveries WHERE subscription_id = ?", (subscription_id,)
            )[0][0]
        )

    def page(
        self, subscription_id: int, after_id: int, up_to_id: int, limit: int
    ) -> list[tuple[int, int]]:
        """Return (message id, size [bytes]) of open deliveries in (after_id, up_to_id], by id."""
        return self._read(
            "SELECT message_id, size FROM deliveries WHERE subscription_id = ?"
            " AND message_id > ? AND message_id <= ? ORDER BY message_id LIMIT ?",
            (subscription_id, after_id, up_to_id, limit),
        )

    def holds(self, subscription_id: int, message_id: int) -> bool:
        """Return whether the subscription waits for the message, as far as committed."""
        return bool(
            self._read(
                "SELECT 1 FROM deliveries WHERE subscription_id = ? AND message_id = ?",
                (subscription_id, message_id),
            )
        )

    def messages(self, message_ids: Sequence[int]) -> dict[int, StoredMessage]:
        """Return the stored messages among `message_ids` by id."""
        rows = self._read(
            "SELECT message_id, publish_time_us, payload FROM messages"
            " WHERE message_id IN (SELECT value FROM json_each(?))",
            (json.dumps(message_ids),),
        )
        return {
            message_id: StoredMessage(publish_time_us, payload)
            for message_id, publish_time_us, payload in rows
        }

    def oldest_publish_time_us(self, subscription_id: int) -> int | None:
        """Return when the subscription's oldest open message was published [µs], if any is."""
        rows = self._read(
            "SELECT publish_time_us FROM messages WHERE message_id = "
            "(SELECT min(message_id) FROM deliveries WHERE subscription_id = ?)",
            (subscription_id,),
        )
        return int(rows[0][0]) if rows else None
