"""Decode: reads message payloads, gives their readings as columns and refuses what is undecodable.

Each payload is unpacked, then decoded together with all others of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from ami_contract.errors import ReadingRejected, RejectionCode
from ami_contract.reading import Attribute, ContentEncoding, ContentType
from beam_jobs.checks import JSON_BLANKS
from beam_jobs.compression import decompress
from beam_jobs.decode_arrow import decode_arrows
from beam_jobs.decode_parts import content_type_of, refuse_payload
from beam_jobs.decode_text import TextPayload, decode_texts, text_payload
from beam_jobs.elements import DECODED_SCHEMA, Decoded, Message, MessageBatch, Refusal

_BLANKS: Final = JSON_BLANKS.encode()


@dataclass(frozen=True)
class PayloadBounds:
    """How large a payload may be.

    Attributes:
        max_payload_bytes: as it arrives.
        max_decoded_bytes: decompressed.
    """

    max_payload_bytes: int
    max_decoded_bytes: int


def decode(batch: MessageBatch, bounds: PayloadBounds) -> Decoded:
    """Readings of all payloads of a batch.

    Args:
        batch: the messages.
        bounds: a larger payload is refused.

    Returns:
        One row per decodable reading (its values not yet checked), refusals for the rest. The
        messages of its batch are decompressed, but for those that were refused whole.
    """
    refusals: list[Refusal] = []
    plain = list(batch.messages)
    texts: list[TextPayload] = []
    arrows: list[tuple[int, bytes]] = []
    for index, message in enumerate(batch.messages):
        try:
            plain[index] = _decompressed(message, bounds)
            content_type = content_type_of(message.attributes)
            if content_type is ContentType.ARROW:
                arrows.append((index, plain[index].data))
            else:
                texts.append(text_payload(index, content_type, plain[index].data))
        except ReadingRejected as error:
            refusals.append(refuse_payload(index, message.data, error))
    plain_batch = replace(batch, messages=plain, texts={})
    parts = [
        *decode_texts(texts, plain_batch),
        *decode_arrows(arrows, bounds.max_decoded_bytes),
    ]
    tables = [table for part in parts for table in part.readings]
    refusals += [
        # A payload refused whole is kept as it came.
        refusal
        if refusal.row is not None
        else replace(refusal, payload=batch.messages[refusal.message].data)
        for part in parts
        for refusal in part.refusals
    ]
    for refusal in refusals:
        if refusal.row is None:
            plain[refusal.message] = batch.messages[refusal.message]
    return Decoded(
        plain_batch,
        # One chunk: a chunk per message would make every later step pay per message.
        pa.concat_tables(tables).combine_chunks() if tables else DECODED_SCHEMA.empty_table(),
        refusals,
        sum(part.unknown_fields for part in parts),
    )


def _decompressed(message: Message, bounds: PayloadBounds) -> Message:
    """The message with its payload in plain; raises ReadingRejected."""
    if len(message.data) > bounds.max_payload_bytes:
        raise ReadingRejected(
            RejectionCode.PAYLOAD_TOO_LARGE,
            None,
            f"{len(message.data)} bytes; at most {bounds.max_payload_bytes} "
            "(AMI_MAX_PAYLOAD_BYTES)",
        )
    claimed = message.attributes.get(Attribute.CONTENT_ENCODING)
    if claimed:
        try:
            encoding = ContentEncoding(claimed)
        except ValueError as error:
            raise ReadingRejected(
                RejectionCode.UNKNOWN_CONTENT_ENCODING,
                None,
                f"content_encoding {claimed!r} is none of {', '.join(ContentEncoding)}",
            ) from error
        attributes = {
            name: value
            for name, value in message.attributes.items()
            if name != Attribute.CONTENT_ENCODING
        }
        data = decompress(message.data, encoding, bounds.max_decoded_bytes)
        message = message._replace(data=data, attributes=attributes)
    if not message.data.strip(_BLANKS):
        raise ReadingRejected(RejectionCode.EMPTY_PAYLOAD, None, "the payload is empty")
    return message
