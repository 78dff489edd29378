"""Local sinks: read finished batches, give one durable file per batch and sink.

Every file derives its name from the batch's segment name, so a batch that is written twice is
there once. Nothing here is acknowledged: that is the caller's last step.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.ipc

from ami_contract.lake import DataDir, hour_folder
from ami_contract.reading import Attribute
from ami_store.files import write_bytes, write_with
from ami_store.lake import land
from beam_jobs.archive import Archived, archived, utc_text
from beam_jobs.elements import Enriched, Message, MessageBatch, Refusal

PAYLOAD_PREFIX_BYTES: Final = 4096
_HOUR_S: Final = 3600
_HOUR_US: Final = _HOUR_S * 1_000_000
_ROW_NUMBER: Final = re.compile(r"[0-9]{1,18}")


def as_text(data: bytes) -> dict[str, str]:
    """`{"payload": text}`, or `{"payload_base64": …}` when the bytes are not UTF-8."""
    try:
        return {"payload": data.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(data).decode()}


def _envelope(message: Message, ingest_ts: datetime) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "publish_time": utc_text(message.publish_time),
        "ingest_ts": utc_text(ingest_ts),
        "attributes": message.attributes,
    }


def write_archive(data: DataDir, enriched: Enriched) -> list[Path]:
    """Archive segments of a batch without what was refused. Raises LakeError."""
    return write_archived(data, enriched.batch, archived(enriched.batch, enriched.refusals))


def write_archived(data: DataDir, batch: MessageBatch, kept: Archived) -> list[Path]:
    """Archive segments of a batch, one per form (JSON Lines, Arrow) it has. Raises LakeError."""
    written = []
    if kept.pieces:
        written.append(_segment(data.archive, batch, "jsonl"))
        write_bytes(written[-1], chain.from_iterable(kept.pieces))
    if kept.rows.num_rows:
        written.append(_segment(data.archive, batch, "arrow"))
        write_with(written[-1], partial(write_arrow_file, kept.rows))
    return written


def write_arrow_file(table: pa.Table, path: Path) -> None:
    """`table` as an Arrow IPC file."""
    with pyarrow.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def _segment(root: Path, batch: MessageBatch, form: str) -> Path:
    return root / "segments" / hour_folder(batch.ingest_ts) / f"{batch.segment}.{form}"


def dead_letter(refusal: Refusal, batch: MessageBatch) -> dict[str, Any]:
    """One dead letter: what was refused, why, and as much of its payload as fits a line.

    `dead_letter_id` is the same for every redelivery of the message. When the payload is longer
    than the prefix, `payload_sha256` names the file that holds all of it. `row` is null and
    `readings` is null where a whole payload was refused; where `readings` is more than 1, the
    letter stands for so many neighbours from `row` on. `source_row` counts the data rows of an
    imported file from 1.
    """
    message, payload = batch.messages[refusal.message], refusal.payload
    first_row = _ROW_NUMBER.fullmatch(message.attributes.get(Attribute.FIRST_ROW, ""))
    row = None if refusal.row is None else message.first_row + refusal.row
    run = f"+{refusal.readings}" if (refusal.readings or 0) > 1 else ""
    identity = f"{message.message_id}:{row}{run}"
    shown = as_text(payload[:PAYLOAD_PREFIX_BYTES])
    record = {
        "dead_letter_id": hashlib.sha256(identity.encode()).hexdigest()[:32],
        "code": refusal.code,
        "field": refusal.field,
        "detail": refusal.detail,
        "row": row,
        "readings": refusal.readings,
        "source_file": message.attributes.get(Attribute.SOURCE_FILE),
        "source_row": int(first_row[0]) + (row or 0) if first_row else None,
        "meter_id": refusal.meter_id,
        "pole_id": refusal.pole_id,
        "seq": refusal.seq,
        "payload_bytes": len(payload),
        "payload_sha256": hashlib.sha256(payload).hexdigest()
        if len(payload) > PAYLOAD_PREFIX_BYTES
        else None,
    }
    return record | shown | _envelope(message, batch.ingest_ts_of(message))


def write_deadletter(data: DataDir, batch: MessageBatch, refusals: list[Refusal]) -> Path | None:
    """Dead-letter segment of a batch; None when nothing was refused. Raises LakeError.

    Long payloads are written first, so a line never names a file that is not there.
    """
    if not refusals:
        return None
    lines = []
    for refusal in refusals:
        record = dead_letter(refusal, batch)
        name = record["payload_sha256"]
        if name:
            _keep_payload(data.deadletter_payloads / name, refusal.payload)
        lines.append(orjson.dumps(record) + b"\n")
    target = _segment(data.deadletter, batch, "jsonl")
    write_bytes(target, lines)
    return target


def _keep_payload(path: Path, payload: bytes) -> None:
    """Write a payload that is not there yet; one that is gets young again for the retention."""
    try:
        os.utime(path)
    except FileNotFoundError:
        write_bytes(path, payload)


def write_landing(data: DataDir, segment: str, rows: pa.Table) -> list[Path]:
    """Landed files of `rows` (`ROW_SCHEMA`), one per hour of `event_ts`. Raises LakeError."""
    if not rows.num_rows:
        return []
    hours = rows["event_ts"].cast(pa.int64()).to_numpy() // _HOUR_US
    if hours.min() != hours.max():
        order = np.argsort(hours, kind="stable")
        rows, hours = rows.take(order), hours[order]
    starts = np.flatnonzero(np.diff(hours, prepend=hours[0] - 1))
    ends = np.append(starts[1:], len(hours))
    return [
        land(
            data,
            datetime.fromtimestamp(int(hours[start]) * _HOUR_S, UTC),
            segment,
            rows.slice(start, end - start),
        )
        for start, end in zip(starts, ends, strict=True)
    ]
