"""One reading at a time: reads a payload or a mapping, gives its row or the reason against it.

This is the slow, exact judge. The columnar path (`decode`, `validate`) only decides *whether* a
reading is good; for the few that are not, the reason comes from here, so that both agree.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from ami_contract.errors import ReadingRejected, RejectionCode
from ami_contract.reading import (
    IDENTIFIER_PATTERN,
    MAX_EVENT_LEAD,
    OLDEST_EVENT_TS,
    READING_FIELDS,
    ContentType,
    Field,
)
from beam_jobs.timestamps import lacks_zone, parse_timestamp

_IDENTIFIER: Final = re.compile(IDENTIFIER_PATTERN)
JSON_BLANKS: Final = " \t\n\r"
_BLANK: Final = re.compile(rf"[{JSON_BLANKS}]*")
INT64_MAX: Final = 2**63 - 1
_SHOWN: Final = 80
_BLANK_BYTES: Final = JSON_BLANKS.encode()
_ONE_TEXT: Final = msgspec.json.Decoder(msgspec.Raw)
_TEXTS: Final = msgspec.json.Decoder(list[msgspec.Raw])

Text = bytes | msgspec.Raw
"""Original text of one reading."""
_LONGEST_INTEGER: Final = 400


class _Repeated(dict[str, Any]):
    """A JSON object that names a key twice; `repeated` is the first field it does that with."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.repeated = next((f.name for f in READING_FIELDS if names.count(f.name) > 1), None)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


def _integer(text: str) -> int | float:
    # Python refuses to read integers of thousands of digits; as a number they are infinite.
    return int(text) if len(text) <= _LONGEST_INTEGER else float(text)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


class Part(NamedTuple):
    """One reading of a payload: its original text and what it decodes to (None: it does not)."""

    text: str
    value: Any
    error: ReadingRejected | None = None


def _decode(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ReadingRejected(RejectionCode.INVALID_JSON, None, "nested too deeply") from error
    except ValueError as error:
        raise ReadingRejected(RejectionCode.INVALID_JSON, None, f"not JSON: {error}") from error


def _elements(text: str) -> list[Part]:
    parts = []
    position = _end_of_blank(text, _end_of_blank(text, 0) + 1)
    while text[position] != "]":
        value, end = _DECODER.raw_decode(text, position)
        parts.append(Part(text[position:end], value))
        position = _end_of_blank(text, end)
        if text[position] == ",":
            position = _end_of_blank(text, position + 1)
    return parts


def _end_of_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    assert match is not None
    return match.end()


def split_json(payload: bytes) -> list[Part]:
    """Readings of a JSON payload (an object or an array of objects), in order.

    Raises:
        ReadingRejected: the payload as a whole is not UTF-8, not JSON or neither of the two.
    """
    text = decode_text(payload)
    value = _decode(text)
    if isinstance(value, dict):
        return [Part(text, value)]
    if isinstance(value, list):
        return _elements(text)
    raise ReadingRejected(
        RejectionCode.NOT_A_READING, None, f"{_shown(value)} is neither an object nor an array"
    )


def split_ndjson(payload: bytes) -> list[Part]:
    """Readings of a newline-delimited payload, one a line; a bad line spoils only itself.

    Raises:
        ReadingRejected: the payload is not UTF-8 or holds no line.
    """
    parts = []
    for line in decode_text(payload).split("\n"):
        if not line.strip(JSON_BLANKS):
            continue
        try:
            parts.append(Part(line, _decode(line)))
        except ReadingRejected as error:
            parts.append(Part(line, None, error))
    return parts


def reading_texts(content_type: ContentType, payload: bytes) -> Sequence[Text] | None:
    """Texts of a text payload's readings, verbatim; None when only the exact splitters can tell.

    An order of magnitude faster than `split_json`: nothing is decoded.
    """
    payload = payload.strip(_BLANK_BYTES)
    if content_type is ContentType.NDJSON:
        return [text for line in payload.split(b"\n") if (text := line.strip(_BLANK_BYTES))]
    try:
        if payload.startswith(b"["):
            texts: list[msgspec.Raw] = _TEXTS.decode(payload)
            return texts
        return [_ONE_TEXT.decode(payload)] if payload.startswith(b"{") else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def part_of(text: bytes) -> Part:
    """The reading that one JSON text decodes to, or why it does not."""
    readable = text.decode(errors="replace")
    try:
        return Part(decode_text(text), _decode(readable))
    except ReadingRejected as error:
        return Part(readable, None, error)


def decode_text(payload: bytes) -> str:
    """Payload as text; raises ReadingRejected when it is not UTF-8."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise ReadingRejected(
            RejectionCode.NOT_UTF8, None, f"byte {error.start} is not UTF-8"
        ) from error


SPLITTERS: Final[dict[ContentType, Callable[[bytes], list[Part]]]] = {
    ContentType.JSON: split_json,
    ContentType.NDJSON: split_ndjson,
}


def check_reading(reading: object, *, now: datetime) -> dict[str, Any]:
    """The row of one decoded reading: contract fields only, typed.

    Args:
        reading: what a JSON element decoded to, or a mapping with Arrow's Python values.
        now: clock for the future limit.

    Raises:
        ReadingRejected: with code, field, the value found and what is allowed; the first field in
            the order of the contract that is wrong counts.
    """
    if not isinstance(reading, Mapping):
        raise ReadingRejected(
            RejectionCode.NOT_A_READING, None, f"{_shown(reading)} is not an object"
        )
    if isinstance(reading, _Repeated) and reading.repeated:
        raise ReadingRejected(
            RejectionCode.DUPLICATE_KEY, reading.repeated, "the field stands twice"
        )
    return {f.name: _checked(f, reading, now) for f in READING_FIELDS}


def _checked(field: Field, reading: Mapping[str, Any], now: datetime) -> Any:
    value = reading.get(field.name)
    if value is None:
        if not field.required:
            return [] if pa.types.is_list(field.type) else None
        if field.name in reading:
            raise ReadingRejected(RejectionCode.NULL_FIELD, field.name, "null; a value is required")
        raise ReadingRejected(RejectionCode.MISSING_FIELD, field.name, "missing; it is required")
    if pa.types.is_timestamp(field.type):
        return _timestamp(field, value, now)
    if pa.types.is_list(field.type):
        return _flags(field, value)
    if pa.types.is_string(field.type):
        return _identifier(field, value)
    return _number(field, value)


def _timestamp(field: Field, value: Any, now: datetime) -> datetime:
    if isinstance(value, str):
        parsed = parse_timestamp(value) if is_text(value) else None
        if parsed is None and lacks_zone(value):
            raise ReadingRejected(
                RejectionCode.TIMESTAMP_WITHOUT_ZONE,
                field.name,
                f"{_shown(value)} has no zone; write Z or an offset such as +01:00",
            )
        if parsed is None:
            raise ReadingRejected(
                RejectionCode.BAD_TIMESTAMP,
                field.name,
                f"{_shown(value)} is not RFC 3339, e.g. 2026-01-31T08:00:01.000Z",
            )
        value = parsed
    if not isinstance(value, datetime):
        raise ReadingRejected(
            RejectionCode.WRONG_TYPE, field.name, f"{_shown(value)} is not an RFC 3339 string"
        )
    if value < OLDEST_EVENT_TS:
        raise ReadingRejected(
            RejectionCode.TIMESTAMP_TOO_OLD,
            field.name,
            f"{value.isoformat()} is before {OLDEST_EVENT_TS.isoformat()}",
        )
    if value > now + MAX_EVENT_LEAD:
        raise ReadingRejected(
            RejectionCode.TIMESTAMP_IN_FUTURE,
            field.name,
            f"{value.isoformat()} is more than {MAX_EVENT_LEAD.total_seconds():.0f} s after "
            f"{now.astimezone(UTC).isoformat()}",
        )
    return value


def _flags(field: Field, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(is_text(flag) for flag in value):
        raise ReadingRejected(
            RejectionCode.WRONG_TYPE, field.name, f"{_shown(value)} is not a list of strings"
        )
    return value


def is_text(value: object) -> bool:
    """Whether `value` is a string that UTF-8 can hold; JSON can spell half a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _identifier(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise ReadingRejected(
            RejectionCode.WRONG_TYPE, field.name, f"{_shown(value)} is not a string"
        )
    if not _IDENTIFIER.fullmatch(value):
        raise ReadingRejected(
            RejectionCode.BAD_IDENTIFIER,
            field.name,
            f"{_shown(value)} does not match {IDENTIFIER_PATTERN}",
        )
    return value


def _number(field: Field, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ReadingRejected(
            RejectionCode.WRONG_TYPE, field.name, f"{_shown(value)} is not a number"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ReadingRejected(RejectionCode.NOT_FINITE, field.name, f"{value} is not finite")
    low = -math.inf if field.minimum is None else field.minimum
    high = math.inf if field.maximum is None else field.maximum
    integral = pa.types.is_integer(field.type)
    if integral and isinstance(value, float) and not value.is_integer():
        raise ReadingRejected(
            RejectionCode.NOT_AN_INTEGER, field.name, f"{value} has a fraction; it counts samples"
        )
    if not low <= value <= (min(high, INT64_MAX) if integral else high):
        raise ReadingRejected(
            RejectionCode.OUT_OF_RANGE,
            field.name,
            f"{_shown(value)} is outside {_range(field)}",
        )
    return int(value) if integral else float(value)


def _range(field: Field) -> str:
    if field.maximum is None:
        return f"≥ {field.minimum:g}"
    return f"{field.minimum:g} … {field.maximum:g} {field.unit}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
