"""History straight into a data folder: reads a simulation's messages, gives its files.

Form `lake`: the landing and the dead letter, as the ingest would have written them had it stored
each message the moment it arrived. Form `archive`: the raw archive and the dead letter,
which is what a replay reads. Decoding, checks and rows are the ingest's own functions;
only Pub/Sub, Beam and the waiting are left out.

A file is named after configuration, window and place, so the same history written twice is there
once, also when the first attempt was killed.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Final, Literal

from ami_contract.lake import DataDir, floor_hour
from ami_contract.reading import Attribute
from beam_jobs.archive import archived
from beam_jobs.decode import PayloadBounds, decode
from beam_jobs.elements import Message as Arrived
from beam_jobs.elements import MessageBatch
from beam_jobs.enrich import enrich
from beam_jobs.sinks import write_archived, write_deadletter, write_landing
from beam_jobs.validate import validate
from simulator.config import SimulationConfig
from simulator.gateway import Message
from simulator.publisher import PublisherCounters

Form = Literal["lake", "archive"]
FORMS: Final[tuple[Form, ...]] = ("lake", "archive")
_PART_BYTES: Final = 64 * 1024 * 1024


def history_key(config: SimulationConfig, start: datetime, end: datetime) -> str:
    """12 hex digits that name a history."""
    text = f"{config.digest()}|{start.astimezone(UTC)}|{end.astimezone(UTC)}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class HistoryPublisher:
    """Takes messages in the order of their arrival and writes them hour by hour.

    Args:
        data: folder to write into.
        form: `lake` or `archive`.
        key: of `history_key`.
        bounds: a larger payload is refused.
    """

    def __init__(self, data: DataDir, form: Form, key: str, bounds: PayloadBounds) -> None:
        self._data = data
        self._form = form
        self._key = key
        self._bounds = bounds
        self._part: list[Arrived] = []
        self._part_bytes = 0
        self._part_hour: datetime | None = None
        self._parts = self._messages = self._bytes = 0
        self.stored = self.refused = 0

    def publish(self, message: Message) -> Future[None]:
        """Take `message`; raises LakeError when a full part cannot be written."""
        arrived_at = datetime.fromtimestamp(message.due_us / 1_000_000, UTC)
        hour = floor_hour(arrived_at)
        if self._part and (hour != self._part_hour or self._part_bytes > _PART_BYTES):
            self._write()
        self._part_hour = hour
        name = message.attributes[Attribute.BATCH_ID.value]
        self._part.append(Arrived(name, arrived_at, message.attributes, message.data, arrived_at))
        self._part_bytes += len(message.data)
        self._messages += 1
        self._bytes += len(message.data)
        outcome: Future[None] = Future()
        outcome.set_result(None)
        return outcome

    def flush(self) -> None:
        """Write what is left; raises LakeError."""
        if self._part:
            self._write()

    def counters(self) -> PublisherCounters:
        """Counters so far."""
        return PublisherCounters(self._messages, self._bytes)

    def _write(self) -> None:
        messages = self._part
        batch = MessageBatch(
            f"history-{self._key}-{self._parts:06d}", messages[-1].publish_time, messages
        )
        self._part, self._part_bytes = [], 0
        self._parts += 1
        validated = validate(decode(batch, self._bounds))
        refusals = validated.refusals
        if self._form == "lake":
            rows = enrich(validated).rows
            write_landing(self._data, batch.segment, rows)
            self.stored += rows.num_rows
        else:
            write_archived(self._data, batch, archived(batch, refusals))
            self.stored += len(messages) - sum(refusal.row is None for refusal in refusals)
        self.refused += sum(refusal.readings or 1 for refusal in refusals)
        write_deadletter(self._data, batch, refusals)
