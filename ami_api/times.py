"""Times of requests: reads RFC 3339 texts, gives UTC windows within the bounds of an endpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from ami_api.problems import Refused

SLOT: Final = timedelta(minutes=5)
DAY: Final = timedelta(days=1)
# Earlier and later times are typing errors, and arithmetic on them would overflow.
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
# A + that was not escaped in a URL arrives as a space.
_UNESCAPED_PLUS: Final = re.compile(r" (?=\d\d:\d\d$)")


def utc_time(value: Any) -> datetime:
    """UTC instant of an RFC 3339 text.

    Raises:
        ValueError: it is no such text, has no offset, or lies outside 1970 to 2199.
    """
    text = _UNESCAPED_PLUS.sub("+", value) if isinstance(value, str) else ""
    if not _RFC3339.fullmatch(text):
        raise ValueError("a time such as 2026-03-01T14:00:00Z or 2026-03-01T08:00:00-06:00")
    # Python takes microseconds and, of a leap second, nothing.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
    try:
        found = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"no such time ({error})") from error
    if not EARLIEST <= found < LATEST:
        raise ValueError("a time from 1970 to 2199")
    return found


Rfc3339 = Annotated[
    datetime,
    BeforeValidator(utc_time),
    Field(examples=["2026-03-01T14:00:00Z"]),
]


@dataclass(frozen=True)
class Span:
    """A window of time, [start, end), in UTC."""

    start: datetime
    end: datetime


def floor_to(at: datetime, width: timedelta) -> datetime:
    """The last multiple of `width` since 1970 that is not after `at`."""
    return at - (at - EARLIEST) % width


def ceil_to(at: datetime, width: timedelta) -> datetime:
    """The first multiple of `width` since 1970 that is not before `at`."""
    return -((EARLIEST - at) // width) * width + EARLIEST


def span_of(
    start: datetime | None,
    end: datetime | None,
    *,
    newest: datetime,
    longest: timedelta,
    default: timedelta = DAY,
) -> Span:
    """The window that a request means.

    Args:
        start: its begin; None: `default` before its end.
        end: its end; None: the 5-minute mark after the newest reading, or, after a `start` that
            is given, whatever of `longest` comes first.
        newest: newest reading of the warehouse.
        longest: longest window that may be asked.
        default: length of a window without a begin.

    Raises:
        Refused: 422, it ends before it begins or is too long.
    """
    if end is None:
        end = floor_to(newest, SLOT) + SLOT
        if start is not None:
            end = min(max(end, start + SLOT), start + longest)
    if start is None:
        start = end - min(default, longest)
    if start >= end:
        raise Refused.of(
            "window",
            f"start {start:%Y-%m-%dT%H:%M:%SZ} is not before end {end:%Y-%m-%dT%H:%M:%SZ}",
            where="query.start",
        )
    if end - start > longest:
        raise Refused.of(
            "window",
            f"the window is {_length(end - start)} long; at most {_length(longest)} are answered "
            "at once",
            where="query.end",
        )
    return Span(start, end)


def _length(span: timedelta) -> str:
    hours = span / timedelta(hours=1)
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} h"
