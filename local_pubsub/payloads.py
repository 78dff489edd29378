"""Reads messages by id; gives them from memory when recent, from the journal otherwise."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from local_pubsub.journal import Journal, StoredMessage


class PayloadCache:
    """The most recently published messages, within a budget of payload bytes."""

    def __init__(self, journal: Journal, budget_bytes: int) -> None:
        """Serve misses from `journal`; keep at most `budget_bytes` of payload."""
        self._journal = journal
        self._budget_bytes = budget_bytes
        self._held_bytes = 0
        self._held: OrderedDict[int, StoredMessage] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Payload bytes held in memory now."""
        return self._held_bytes

    def put(self, first_message_id: int, publish_time_us: int, payloads: Sequence[bytes]) -> None:
        """Keep freshly committed messages, dropping the oldest ones beyond the budget."""
        with self._lock:
            for message_id, payload in enumerate(payloads, start=first_message_id):
                self._held[message_id] = StoredMessage(publish_time_us, payload)
                self._held_bytes += len(payload)
            while self._held_bytes > self._budget_bytes:
                _, oldest = self._held.popitem(last=False)
                self._held_bytes -= len(oldest.payload)

    def get(self, message_ids: Sequence[int]) -> dict[int, StoredMessage]:
        """Return the messages that still exist, by id."""
        with self._lock:
            found = {
                message_id: self._held[message_id]
                for message_id in message_ids
                if message_id in self._held
            }
        missing = [message_id for message_id in message_ids if message_id not in found]
        if missing:
            found.update(self._journal.messages(missing))
        return found
