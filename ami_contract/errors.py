"""The error family: every failure the platform raises on purpose, with what to do about it."""

from __future__ import annotations

from enum import StrEnum


class AmiError(Exception):
    """Base of all errors raised on purpose; its message names the place and the remedy."""


class SettingsError(AmiError):
    """A setting, configuration file or command-line option is wrong; nothing was started."""


class TransportError(AmiError):
    """Pub/Sub (or the way to it) did not do what was asked."""


class LakeError(AmiError):
    """A file of the lake cannot be read or written."""


class LockHeldError(LakeError):
    """Another process is at the same work; wait for it or leave it to that one."""


class WarehouseError(AmiError):
    """The warehouse is missing, locked or refused a statement."""


class CloudError(AmiError):
    """A service of Google Cloud does not answer, or refused what was asked."""


class RejectionCode(StrEnum):
    """Why a reading or a whole payload is refused; written beside it in the dead letter."""

    EMPTY_PAYLOAD = "empty_payload"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNKNOWN_CONTENT_TYPE = "unknown_content_type"
    UNKNOWN_CONTENT_ENCODING = "unknown_content_encoding"
    INVALID_COMPRESSION = "invalid_compression"
    NOT_UTF8 = "not_utf8"
    INVALID_JSON = "invalid_json"
    INVALID_ARROW = "invalid_arrow"
    NOT_A_READING = "not_a_reading"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_FIELD = "missing_field"
    NULL_FIELD = "null_field"
    WRONG_TYPE = "wrong_type"
    NOT_AN_INTEGER = "not_an_integer"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    BAD_TIMESTAMP = "bad_timestamp"
    TIMESTAMP_WITHOUT_ZONE = "timestamp_without_zone"
    TIMESTAMP_TOO_OLD = "timestamp_too_old"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    BAD_IDENTIFIER = "bad_identifier"
    PROCESSING_FAILED = "processing_failed"
    WAREHOUSE_REFUSED = "warehouse_refused"


class ReadingRejected(AmiError):
    """One reading (or payload) that must not be stored.

    Attributes:
        code: why, as a `RejectionCode`.
        field: the offending field, or None when the whole payload is meant.
        detail: one sentence for a person, with the value found and what is allowed.
    """

    def __init__(self, code: RejectionCode, field: str | None, detail: str) -> None:
        super().__init__(f"{code}: {field}: {detail}" if field else f"{code}: {detail}")
        self.code = code
        self.field = field
        self.detail = detail
