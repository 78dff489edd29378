"""Decode Arrow: reads Arrow IPC payloads, gives their readings as columns of the contract's types.

No value is coerced: a column of a type that cannot hold the contract's values refuses its payload,
a value that does not fit becomes null, so that only its reading is judged.
"""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from ami_contract.errors import ReadingRejected, RejectionCode
from ami_contract.reading import READING_FIELDS, TIMESTAMP, WIRE_SCHEMA
from beam_jobs.compression import check_arrow_size
from beam_jobs.decode_parts import (
    DECODER_COUNT,
    DECODERS,
    KNOWN_FIELDS,
    Partial,
    places,
    refuse_payload,
)
from beam_jobs.elements import DECODED_SCHEMA
from beam_jobs.timestamps import parse_timestamps

_NAMES: Final = [f.name for f in READING_FIELDS]
_TYPES: Final = [f.type for f in READING_FIELDS]
# Threads within a stream cost more than they save at the size of a message.
_ONE_THREAD: Final = pyarrow.ipc.IpcReadOptions(use_threads=False)


def read_arrow(data: bytes) -> pa.Table:
    """Table of an Arrow IPC stream payload.

    Raises:
        ReadingRejected: it is no such stream.
    """
    try:
        with pyarrow.ipc.open_stream(pa.BufferReader(data), options=_ONE_THREAD) as stream:
            table = stream.read_all()
            table.validate(full=True)
            return table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, ValueError) as error:
        raise ReadingRejected(
            RejectionCode.INVALID_ARROW, None, f"not an Arrow IPC stream: {error}"
        ) from error


def decode_arrows(payloads: list[tuple[int, bytes]], max_decoded_bytes: int) -> list[Partial]:
    """All Arrow payloads; those of the contract's own schema as one table."""
    shares = [payloads[first::DECODER_COUNT] for first in range(DECODER_COUNT)]
    read = [
        outcome
        for share in DECODERS.map(partial(_read_all, max_decoded_bytes=max_decoded_bytes), shares)
        for outcome in share
    ]
    plain: list[tuple[int, pa.Table]] = []
    parts = []
    for index, data, outcome in sorted(read, key=itemgetter(0)):
        if isinstance(outcome, ReadingRejected):
            parts.append(Partial([], [refuse_payload(index, data, outcome)], 0))
        elif _is_plain(outcome.schema):
            plain.append((index, outcome))
        else:
            parts.append(_decode_arrow(index, data, outcome, max_decoded_bytes))
    if plain:
        columns = [table.columns for _, table in plain]
        joined = [
            pa.chunked_array([c for column in same for c in column.chunks], f.type)
            for same, f in zip(zip(*columns, strict=True), READING_FIELDS, strict=True)
        ]
        sizes = np.array([table.num_rows for _, table in plain])
        where = places(np.array([index for index, _ in plain]), sizes, [None] * len(plain))
        parts.append(Partial([pa.table([*joined, *where], schema=DECODED_SCHEMA)], [], 0))
    return parts


def _is_plain(schema: pa.Schema) -> bool:
    return schema.names == _NAMES and schema.types == _TYPES


def _read_all(
    payloads: list[tuple[int, bytes]], *, max_decoded_bytes: int
) -> list[tuple[int, bytes, pa.Table | ReadingRejected]]:
    return [(index, data, _read_bounded(data, max_decoded_bytes)) for index, data in payloads]


def _read_bounded(data: bytes, max_decoded_bytes: int) -> pa.Table | ReadingRejected:
    try:
        check_arrow_size(data, max_decoded_bytes)
        return read_arrow(data)
    except ReadingRejected as error:
        return error


def _decode_arrow(index: int, data: bytes, table: pa.Table, max_decoded_bytes: int) -> Partial:
    try:
        columns = wire_columns(table, max_decoded_bytes)
    except ReadingRejected as error:
        return Partial([], [refuse_payload(index, data, error)], 0)
    unknown = sum(
        len(column) - column.null_count
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name not in KNOWN_FIELDS
    )
    where = places(np.array([index]), np.array([table.num_rows]), [None])
    placed = pa.table([*columns.values(), *where], schema=DECODED_SCHEMA)
    return Partial([placed], [], unknown)


def wire_columns(table: pa.Table, max_decoded_bytes: int) -> dict[str, Any]:
    """Contract columns of an Arrow table, in the contract's types; absent optional ones are null.

    Args:
        table: of any schema.
        max_decoded_bytes: a column whose dictionary unfolds to more is refused.

    Raises:
        ReadingRejected: a required column is missing, stands twice, or has a type that would have
            to be coerced.
    """
    columns: dict[str, Any] = {}
    for f in READING_FIELDS:
        found = table.column_names.count(f.name)
        if found > 1:
            raise ReadingRejected(RejectionCode.DUPLICATE_KEY, f.name, "the column stands twice")
        if not found and f.required:
            raise ReadingRejected(RejectionCode.MISSING_FIELD, f.name, "the column is missing")
        columns[f.name] = (
            as_wire(f.name, table[f.name], max_decoded_bytes)
            if found
            else pa.nulls(table.num_rows, f.type)
        )
    return columns


def as_wire(name: str, column: pa.ChunkedArray, max_decoded_bytes: int) -> pa.ChunkedArray:
    """The column of a field in the contract's type; raises ReadingRejected as `wire_columns`."""
    wanted, found = WIRE_SCHEMA.field(name).type, column.type
    is_dictionary = pa.types.is_dictionary(found)
    if is_dictionary:
        found = found.value_type
    # Arrow cannot unfold a dictionary of lists.
    if not _castable(found, wanted) or (is_dictionary and pa.types.is_list(wanted)):
        raise ReadingRejected(
            RejectionCode.WRONG_TYPE, name, f"Arrow type {column.type} where {wanted} is meant"
        )
    if is_dictionary:
        if _unfolded_bytes(column) > max_decoded_bytes:
            raise ReadingRejected(
                RejectionCode.PAYLOAD_TOO_LARGE,
                name,
                f"its dictionary unfolds to more than {max_decoded_bytes} bytes "
                "(AMI_MAX_DECODED_BYTES)",
            )
        column = column.cast(found)
    if pa.types.is_timestamp(wanted) and _is_text(found):
        return pa.chunked_array(
            [parse_timestamps(chunk.cast(pa.string())) for chunk in column.chunks], TIMESTAMP
        )
    try:
        return column.cast(options=pc.CastOptions(wanted, allow_time_truncate=True))
    except pa.ArrowInvalid:
        # Some value does not fit: null here, so that only its reading is judged and refused.
        return pa.chunked_array([[_fitting(value, wanted) for value in column]], wanted)


def _unfolded_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of a dictionary column's texts once each row has its own; 0 for other values."""
    if not _is_text(column.type.value_type):
        return 0
    return sum(
        pc.sum(pc.binary_length(chunk.dictionary).cast(pa.int64()).take(chunk.indices)).as_py() or 0
        for chunk in column.chunks
    )


def _fitting(value: pa.Scalar, wanted: pa.DataType) -> pa.Scalar | None:
    try:
        return value.cast(options=pc.CastOptions(wanted, allow_time_truncate=True))
    except pa.ArrowInvalid:
        return None


def _is_text(type_: pa.DataType) -> bool:
    return pa.types.is_string(type_) or pa.types.is_large_string(type_)


def _castable(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_null(found):
        return True
    if pa.types.is_timestamp(wanted):
        return _is_text(found) or (pa.types.is_timestamp(found) and found.tz is not None)
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        return is_list and (_is_text(found.value_type) or pa.types.is_null(found.value_type))
    if pa.types.is_string(wanted):
        return _is_text(found)
    if pa.types.is_integer(wanted):
        return pa.types.is_integer(found)
    return pa.types.is_floating(found) or pa.types.is_integer(found)
