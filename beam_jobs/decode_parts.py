"""Parts of a decoded batch: reads payloads and single readings, gives their rows and refusals.

What decoding text and decoding Arrow payloads have in common: how a payload is split, what a part
of a batch comes to, where its rows came from, and why a reading is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ami_contract.errors import ReadingRejected, RejectionCode
from ami_contract.reading import READING_FIELDS, Attribute, ContentType
from beam_jobs.checks import (
    INT64_MAX,
    SPLITTERS,
    Part,
    Text,
    check_reading,
    is_text,
    part_of,
    reading_texts,
)
from beam_jobs.elements import (
    DECODED_SCHEMA,
    MESSAGE_COLUMN,
    ROW_COLUMN,
    MessageBatch,
    Refusal,
)

KNOWN_FIELDS: Final = frozenset(f.name for f in READING_FIELDS)
DECODER_COUNT: Final = os.cpu_count() or 1
DECODERS: Final = ThreadPoolExecutor(DECODER_COUNT, thread_name_prefix="decoder")
"""Decode the payloads of all batches in hand side by side."""


class Partial(NamedTuple):
    """What some payloads or readings of a batch came to; the attributes are those of `Decoded`."""

    readings: list[pa.Table]
    refusals: list[Refusal]
    unknown_fields: int


def content_type_of(attributes: dict[str, str]) -> ContentType:
    """Content type a message claims; JSON when it says nothing.

    Raises:
        ReadingRejected: it is none that the platform reads.
    """
    claimed = attributes.get(Attribute.CONTENT_TYPE, ContentType.JSON)
    try:
        return ContentType(claimed)
    except ValueError as error:
        raise ReadingRejected(
            RejectionCode.UNKNOWN_CONTENT_TYPE,
            None,
            f"content_type {claimed!r} is none of {', '.join(ContentType)}",
        ) from error


def texts_of(batch: MessageBatch, index: int) -> Sequence[Text] | None:
    """`reading_texts` of a text message, which is split once for all who ask."""
    if index not in batch.texts:
        message = batch.messages[index]
        batch.texts[index] = reading_texts(content_type_of(message.attributes), message.data)
    return batch.texts[index]


def without(texts: Sequence[Text], rows: Iterable[int]) -> list[Text]:
    """`texts` but for those at `rows`."""
    kept = list(texts)
    for row in sorted(rows, reverse=True):
        del kept[row]
    return kept


def parts_at(batch: MessageBatch, index: int, rows: Iterable[int]) -> dict[int, Part]:
    """The readings at some rows of a text message.

    Raises:
        ReadingRejected: its payload cannot be split.
    """
    texts = texts_of(batch, index)
    if texts is None:
        message = batch.messages[index]
        parts = SPLITTERS[content_type_of(message.attributes)](message.data)
        return {row: parts[row] for row in rows}
    return {row: part_of(bytes(texts[row])) for row in rows}


def refuse_payload(index: int, data: bytes, error: ReadingRejected) -> Refusal:
    """Refusal of a whole payload."""
    return Refusal(index, None, error.code, error.field, error.detail, data)


def refuse_reading(index: int, row: int, part: Part, error: ReadingRejected) -> Refusal:
    """Refusal of one reading, with the identifiers that can be read from it."""
    value = part.value if isinstance(part.value, dict) else {}
    meter_id, pole_id, seq = value.get("meter_id"), value.get("pole_id"), value.get("seq")
    return Refusal(
        index,
        row,
        error.code,
        error.field,
        error.detail,
        part.text.encode(),
        meter_id if is_text(meter_id) else None,
        pole_id if is_text(pole_id) else None,
        seq if type(seq) is int and abs(seq) <= INT64_MAX else None,
        1,
    )


def judge_readings(message: int, parts: Mapping[int, Part], now: datetime) -> Partial:
    """Verdict of the exact judge on single readings.

    Args:
        message: index of their message in the batch.
        parts: the readings by row.
        now: clock for the future limit.
    """
    good: list[dict[str, Any]] = []
    refusals: list[Refusal] = []
    unknown_fields = 0
    for row, part in parts.items():
        try:
            if part.error:
                raise part.error
            checked = check_reading(part.value, now=now)
        except ReadingRejected as error:
            refusals.append(refuse_reading(message, row, part, error))
        else:
            good.append(checked | {MESSAGE_COLUMN: message, ROW_COLUMN: row})
            unknown_fields += len(part.value.keys() - KNOWN_FIELDS)
    # An empty table costs as much to make as a few readings to judge.
    tables = [pa.Table.from_pylist(good, DECODED_SCHEMA)] if good else []
    return Partial(tables, refusals, unknown_fields)


def places(messages: Any, sizes: Any, rows: Sequence[np.ndarray | None]) -> tuple[Any, Any]:
    """Message and row of the readings of some messages, in order.

    Args:
        messages: index of each message.
        sizes: how many readings of each there are.
        rows: which of its rows they are; None: all.

    Raises:
        ValueError: there are not as many readings as rows.
    """
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    row = np.arange(len(starts)) - starts
    if any(each is not None for each in rows):
        row = np.concatenate(
            [
                np.arange(size) if each is None else each
                for each, size in zip(rows, sizes, strict=True)
            ]
        )
        if len(row) != len(starts):
            raise ValueError("a payload is not as many readings as were left of it")
    return (
        pa.array(np.repeat(messages, sizes).astype(np.int32)),
        pa.array(row.astype(np.int32)),
    )
