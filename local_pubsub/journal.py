"""Reads and writes the server's SQLite file: topics, subscriptions, payloads, open deliveries.

A payload is stored once, whatever the number of subscriptions; a row of `deliveries` says that a
subscription still waits for a message, a row of `retained` that it keeps an acknowledged one for a
later seek. The row of a message goes with the last of these.

Message ids are given in commit order, so "the messages after id X" is a stable question.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

DATABASE_FILE = "journal.sqlite3"

# What makes each version of the journal out of the one before.
_SCHEMA_STEPS = (
    """
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
""",
    """
ALTER TABLE deliveries ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
CREATE TABLE retained (
    subscription_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (subscription_id, message_id)
) WITHOUT ROWID;
""",
)
_SCHEMA_VERSION = len(_SCHEMA_STEPS)

_REMOVE_UNHELD = (
    "DELETE FROM messages WHERE message_id IN (SELECT value FROM json_each(?))"
    " AND NOT EXISTS (SELECT 1 FROM subscriptions CROSS JOIN deliveries"
    " USING (subscription_id) WHERE subscriptions.topic_id = ?"
    " AND deliveries.message_id = messages.message_id)"
)
_AND_UNRETAINED = (
    " AND NOT EXISTS (SELECT 1 FROM subscriptions CROSS JOIN retained"
    " USING (subscription_id) WHERE subscriptions.topic_id = ?"
    " AND retained.message_id = messages.message_id)"
)
_OLDEST_OPEN = (
    "SELECT message_id, publish_time_us FROM deliveries JOIN messages USING (message_id)"
    " WHERE subscription_id = ? ORDER BY message_id LIMIT ?"
)
_OLDEST_RETAINED = (
    "SELECT message_id, publish_time_us FROM retained JOIN messages USING (message_id)"
    " WHERE subscription_id = ? ORDER BY message_id LIMIT ?"
)
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
        self._log_path = directory / f"{DATABASE_FILE}-wal"
        self._writer = self._connect(path)
        self._writer.execute("PRAGMA synchronous = FULL")
        # Some builds overwrite deleted rows with zeros, so that a settled message is written again.
        self._writer.execute("PRAGMA secure_delete = OFF")
        self._writer.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version < _SCHEMA_VERSION:
            steps = "".join(_SCHEMA_STEPS[version:])
            self._writer.executescript(
                f"BEGIN; {steps} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
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

    def set_topic_config(self, topic_id: int, config: bytes) -> None:
        """Replace a topic's resource."""
        self._writer.execute("UPDATE topics SET config = ? WHERE topic_id = ?", (config, topic_id))

    def set_subscription_config(self, subscription_id: int, config: bytes) -> None:
        """Replace a subscription's resource."""
        self._writer.execute(
            "UPDATE subscriptions SET config = ? WHERE subscription_id = ?",
            (config, subscription_id),
        )

    def remove_backlog(self, subscription_id: int) -> None:
        """Let `housekeep` remove all the subscription holds, step by step."""
        self._writer.execute(
            "INSERT OR IGNORE INTO dropped_subscriptions SELECT subscription_id, topic_id"
            " FROM subscriptions WHERE subscription_id = ?",
            (subscription_id,),
        )

    def remove_subscription(self, subscription_id: int) -> None:
        """Remove a subscription; `housekeep` removes its deliveries step by step."""
        self.remove_backlog(subscription_id)
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
                "INSERT INTO deliveries (subscription_id, message_id, size)"
                " SELECT ?, message_id, size FROM messages WHERE message_id BETWEEN ? AND ?",
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

    def settle(
        self,
        subscription_id: int,
        topic_id: int,
        message_ids: Sequence[int],
        *,
        retain: bool = False,
    ) -> None:
        """Forget acknowledged deliveries, and each message no subscription holds any more.

        With `retain` the subscription keeps the messages, for a later `seek`.
        """
        ids = json.dumps(message_ids)
        if retain:
            self._writer.execute(
                "INSERT OR IGNORE INTO retained SELECT subscription_id, message_id, size"
                " FROM deliveries WHERE subscription_id = ?"
                " AND message_id IN (SELECT value FROM json_each(?))",
                (subscription_id, ids),
            )
        self._writer.execute(
            "DELETE FROM deliveries WHERE subscription_id = ?"
            " AND message_id IN (SELECT value FROM json_each(?))",
            (subscription_id, ids),
        )
        self._remove_unheld(topic_id, ids)

    def forget_retained(
        self, subscription_id: int, topic_id: int, message_ids: Sequence[int]
    ) -> None:
        """Give up acknowledged messages the subscription kept."""
        ids = json.dumps(message_ids)
        self._writer.execute(
            "DELETE FROM retained WHERE subscription_id = ?"
            " AND message_id IN (SELECT value FROM json_each(?))",
            (subscription_id, ids),
        )
        self._remove_unheld(topic_id, ids)

    def _remove_unheld(self, topic_id: int, ids: str) -> None:
        unheld = _REMOVE_UNHELD
        values: tuple[str | int, ...] = (ids, topic_id)
        # Mostly nobody retains anything, and looking for it would cost as much as the rest.
        if self._writer.execute("SELECT 1 FROM retained LIMIT 1").fetchone():
            unheld += _AND_UNRETAINED
            values += (topic_id,)
        self._writer.execute(unheld, values)

    def record_attempts(
        self, subscription_id: int, attempts: int, message_ids: Sequence[int]
    ) -> None:
        """Note that the deliveries of these messages failed so many times."""
        self._writer.execute(
            "UPDATE deliveries SET attempts = ? WHERE subscription_id = ?"
            " AND message_id IN (SELECT value FROM json_each(?))",
            (attempts, subscription_id, json.dumps(message_ids)),
        )

    def seek(self, subscription_id: int, topic_id: int, time_us: int, *, retain: bool) -> int:
        """Settle what was published before `time_us`, take back retained messages from then on.

        Returns how many messages the subscription waits for now.
        """
        while rows := self._writer.execute(
            "SELECT message_id FROM deliveries JOIN messages USING (message_id)"
            " WHERE subscription_id = ? AND publish_time_us < ? ORDER BY message_id LIMIT ?",
            (subscription_id, time_us, _CLEANUP_STEP_ROWS),
        ).fetchall():
            self.settle(subscription_id, topic_id, [each for (each,) in rows], retain=retain)
        self._writer.execute(
            "INSERT OR IGNORE INTO deliveries (subscription_id, message_id, size)"
            " SELECT subscription_id, message_id, retained.size"
            " FROM retained JOIN messages USING (message_id)"
            " WHERE subscription_id = ? AND publish_time_us >= ?",
            (subscription_id, time_us),
        )
        self._writer.execute(
            "DELETE FROM retained WHERE subscription_id = ? AND message_id IN"
            " (SELECT message_id FROM deliveries WHERE subscription_id = ?)",
            (subscription_id, subscription_id),
        )
        (left,) = self._writer.execute(
            "SELECT count(*) FROM deliveries WHERE subscription_id = ?", (subscription_id,)
        ).fetchone()
        return int(left)

    def housekeep(self) -> bool:
        """Do one short step of cleaning up, outside a transaction; True when more is left.

        First the deliveries of dropped subscriptions go, then free pages go back to the file
        system once they are many and make up half of the file.
        """
        self._bound_log()
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

    def _bound_log(self) -> None:
        """Fold an overlong write-ahead log into the database.

        SQLite does so by itself at a commit, unless somebody reads at that moment.
        """
        if self._log_path.exists() and self._log_path.stat().st_size > 2 * _WAL_KEPT_BYTES:
            with self._reader_lock:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _clean_dropped(self, subscription_id: int, topic_id: int) -> None:
        with self.transaction():
            for oldest, forget in (
                (
                    "SELECT message_id FROM deliveries WHERE subscription_id = ? LIMIT ?",
                    self.settle,
                ),
                (
                    "SELECT message_id FROM retained WHERE subscription_id = ? LIMIT ?",
                    self.forget_retained,
                ),
            ):
                rows = self._writer.execute(
                    oldest, (subscription_id, _CLEANUP_STEP_ROWS)
                ).fetchall()
                if rows:
                    forget(subscription_id, topic_id, [message_id for (message_id,) in rows])
                    return
            self._writer.execute(
                "DELETE FROM dropped_subscriptions WHERE subscription_id = ?", (subscription_id,)
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

    def open_deliveries(self, subscription_id: int, after_id: int = 0) -> int:
        """Return how many messages beyond `after_id` the subscription still waits for."""
        return int(
            self._read(
                "SELECT count(*) FROM deliveries WHERE subscription_id = ? AND message_id > ?",
                (subscription_id, after_id),
            )[0][0]
        )

    def expired(self, subscription_id: int, before_us: int, limit: int) -> list[int]:
        """Return the oldest open messages, as far as published before `before_us` [µs]."""
        return self._expired(_OLDEST_OPEN, subscription_id, before_us, limit)

    def expired_retained(self, subscription_id: int, before_us: int, limit: int) -> list[int]:
        """Return the oldest retained messages, as far as published before `before_us` [µs]."""
        return self._expired(_OLDEST_RETAINED, subscription_id, before_us, limit)

    def _expired(self, oldest: str, subscription_id: int, before_us: int, limit: int) -> list[int]:
        # Mostly nothing has expired, which the first row tells.
        rows = self._read(oldest, (subscription_id, 1))
        if rows and rows[0][1] < before_us:
            rows = self._read(oldest, (subscription_id, limit))
        return [message_id for message_id, _ in takewhile(lambda row: row[1] < before_us, rows)]

    def page(
        self, subscription_id: int, after_id: int, up_to_id: int, limit: int
    ) -> list[tuple[int, int, int]]:
        """Return (message id, size [bytes], failed attempts) in (after_id, up_to_id], by id."""
        return self._read(
            "SELECT message_id, size, attempts FROM deliveries WHERE subscription_id = ?"
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
