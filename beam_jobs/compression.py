"""Compressed payloads: reads gzip, zstd and compressed Arrow streams, gives them within a bound.

A payload of a hundred kilobytes can stand for gigabytes; what it decodes to is bounded before
memory is taken for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.ipc

from ami_contract.errors import ReadingRejected, RejectionCode
from ami_contract.reading import ContentEncoding

_RAW_BUFFER: Final = -1
_DICTIONARY: Final = 2
_VALUE_BYTES: Final = 8


def decompress(data: bytes, encoding: ContentEncoding, max_decoded_bytes: int) -> bytes:
    """A compressed payload's content.

    Raises:
        ReadingRejected: it is damaged, or more than `max_decoded_bytes` long.
    """
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), encoding.value) as stream:
            # `read` would not free its bytes when the payload is damaged.
            content = stream.read_buffer(max_decoded_bytes + 1).to_pybytes()
    except OSError as error:
        raise ReadingRejected(
            RejectionCode.INVALID_COMPRESSION, None, f"not {encoding}: {error}"
        ) from error
    _check(len(content), max_decoded_bytes)
    return content


def check_arrow_size(data: bytes, max_decoded_bytes: int) -> None:
    """Refuse an Arrow IPC stream that decodes to more than `max_decoded_bytes` altogether.

    Each compressed buffer starts with its decompressed length (Arrow columnar format, "Encapsulated
    message format"), which the reader allocates; nothing is decompressed here. Values of Arrow's
    null type have no buffer at all; any value counts as eight bytes at least, as in the contract's
    own types.

    Raises:
        ReadingRejected: they are, or the stream's messages cannot be read.
    """
    try:
        total = sum(
            _decoded_bytes(message)
            for message in pyarrow.ipc.MessageReader.open_stream(pa.BufferReader(data))
            if message.type in ("record batch", "dictionary")
        )
    except (pa.ArrowInvalid, OSError, ValueError, struct.error) as error:
        raise ReadingRejected(
            RejectionCode.INVALID_ARROW, None, f"not an Arrow IPC stream: {error}"
        ) from error
    _check(total, max_decoded_bytes)


def _check(size: int, max_decoded_bytes: int) -> None:
    if size > max_decoded_bytes:
        raise ReadingRejected(
            RejectionCode.PAYLOAD_TOO_LARGE,
            None,
            f"more than {max_decoded_bytes} bytes when decoded (AMI_MAX_DECODED_BYTES)",
        )


def _decoded_bytes(message: pa.ipc.Message) -> int:
    """What a record batch or dictionary message takes once it is decoded."""
    header, body = memoryview(message.metadata), message.body
    content = memoryview(body) if body is not None else memoryview(b"")
    root = _Table(header, struct.unpack_from("<I", header, 0)[0])
    batch = root.table(2)
    if root.byte(1) == _DICTIONARY:
        batch = batch.table(1)
    values = [length for length, _ in batch.pairs(1)]
    lengths = list(_decoded_lengths(batch, content))
    if min(values + lengths, default=0) < 0:
        raise ValueError("a column has a negative length")
    return max(sum(lengths), _VALUE_BYTES * sum(values))


def _decoded_lengths(batch: _Table, content: memoryview) -> Iterator[int]:
    """Decompressed length of every buffer of a record batch."""
    compressed = batch.has(3)
    for offset, length in batch.pairs(2):
        if not compressed or length == 0:
            yield length
            continue
        (decoded,) = struct.unpack_from("<q", content, offset)
        yield length if decoded == _RAW_BUFFER else decoded


class _Table:
    """A FlatBuffers table: just enough to walk to a record batch's buffers."""

    def __init__(self, data: memoryview, position: int) -> None:
        self._data = data
        self._position = position
        (back,) = struct.unpack_from("<i", data, position)
        self._fields = position - back
        (self._size,) = struct.unpack_from("<H", data, self._fields)

    def _at(self, field: int) -> int:
        slot = 4 + 2 * field
        if slot >= self._size:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._fields + slot)
        return self._position + offset if offset else 0

    def has(self, field: int) -> bool:
        return bool(self._at(field))

    def byte(self, field: int) -> int:
        at = self._at(field)
        return self._data[at] if at else 0

    def _target(self, field: int) -> int:
        at = self._at(field)
        if not at:
            raise ValueError("a part of the message is missing")
        return at + struct.unpack_from("<I", self._data, at)[0]

    def table(self, field: int) -> _Table:
        return _Table(self._data, self._target(field))

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """A vector of structs of two int64."""
        if not self.has(field):
            return
        start = self._target(field)
        (count,) = struct.unpack_from("<I", self._data, start)
        yield from struct.iter_unpack("<qq", self._data[start + 4 : start + 4 + 16 * count])
