"""RFC 3339 texts become the instants Python's own datetime reads, to the microsecond."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.timestamps import RFC3339, lacks_zone, parse_timestamp, parse_timestamps

zones = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda m: timezone(timedelta(minutes=m)))
known_years = st.datetimes(datetime(1970, 1, 2), datetime(2260, 12, 31), timezones=zones)  # noqa: DTZ001


def parse(text: str) -> datetime | None:
    found: datetime | None = parse_timestamps(pa.array([text]))[0].as_py()
    return found


@st.composite
def written(draw: st.DrawFn) -> tuple[str, datetime]:
    """A datetime and one of the ways RFC 3339 writes it."""
    instant = draw(known_years)
    digits = draw(st.integers(0, 9))
    fraction = f"{instant.microsecond:06d}{draw(st.integers(0, 999)):03d}"[:digits]
    seen = instant.replace(microsecond=int(fraction[:6].ljust(6, "0")) if fraction else 0)
    separator = draw(st.sampled_from("Tt "))
    offset = seen.strftime("%z")
    zone = f"{offset[:3]}:{offset[3:5]}"
    if zone == "+00:00":
        zone = draw(st.sampled_from(["Z", "z", "+00:00", "-00:00"]))
    dot = "." if fraction else ""
    clock = f"{seen:%H:%M:%S}"
    text = f"{seen.year:04d}-{seen:%m-%d}{separator}{clock}{dot}{fraction}{zone}"
    return text, seen


@settings(max_examples=150)
@given(st.lists(written(), min_size=1, max_size=5))
def test_texts_read_as_python_reads_them(pairs: list[tuple[str, datetime]]) -> None:
    found = parse_timestamps(pa.array([text for text, _ in pairs])).to_pylist()

    assert found == [instant.astimezone(UTC) for _, instant in pairs]
    assert [parse_timestamp(text) for text, _ in pairs] == found


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T11:30:00",
        "2026-03-01",
        "2026-03-01T11:30Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T11:60:00Z",
        "2026-03-01T11:30:60Z",
        "2026-02-29T11:30:00Z",
        "2026-13-01T11:30:00Z",
        "2026-03-01T11:30:00+0100",
        "2026-03-01T11:30:00+24:00",
        "2026-03-01T11:30:00+01:60",
        "2026-03-01T11:30:00.Z",
        "2026-03-01T11:30:00.1234567890Z",
        "2026-03-01T11:30:00,5Z",
        "26-03-01T11:30:00Z",
        "2026-03-01T11:30:00ZZ",
        "2026-03-01T11:30:00+01:00Z",
        "2026-03-01T1130:00.000Z",
        "+2026-03-01T11:30:00Z",
        "٢٠٢٦-03-01T11:30:00Z",
        " 2026-03-01T11:30:00Z",
        "2026-03-01T11:30:00Z\n",
        "20260301T113000Z",
        "1772364600",
        "now",
        "",
    ],
)
def test_anything_else_reads_as_null_alone_and_among_others(text: str) -> None:
    good = "2026-03-01T11:30:00Z"

    assert parse_timestamp(text) is None
    assert parse_timestamps(pa.array([good, text, None, good])).to_pylist() == [
        datetime(2026, 3, 1, 11, 30, tzinfo=UTC),
        None,
        None,
        datetime(2026, 3, 1, 11, 30, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("1600-02-29T00:00:00Z", datetime(1600, 2, 29, tzinfo=UTC)),
        ("9999-12-31T23:59:59.5Z", datetime(9999, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)),
    ],
)
def test_distant_years_are_null_in_columns_and_exact_for_the_judge(
    text: str, instant: datetime
) -> None:
    assert parse(text) is None
    assert parse_timestamp(text) == instant


@settings(max_examples=200)
@given(st.datetimes(timezones=zones))
def test_no_year_of_the_calendar_wraps_around(instant: datetime) -> None:
    text = instant.isoformat()
    found = parse(text)

    assert found is None or found == instant
    assert parse_timestamp(text) in (None, instant)


def test_columns_without_any_text_stay_null() -> None:
    assert parse_timestamps(pa.array([], pa.string())).to_pylist() == []
    assert parse_timestamps(pa.array([None, None], pa.string())).to_pylist() == [None, None]


def test_only_a_timestamp_without_zone_lacks_one() -> None:
    assert lacks_zone("2026-03-01T11:30:00.123")
    assert not lacks_zone("2026-03-01T11:30:00Z")
    assert not lacks_zone("2026-03-01")


@st.composite
def edited(draw: st.DrawFn) -> str:
    """A timestamp of at least the least length that ends in Z, with some characters changed."""
    text = list("2026-03-01T12:50:00.123456789"[: draw(st.integers(19, 29))])
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text) - 1))
        text[place] = draw(st.sampled_from(["", *"0369-+:.,TtZz W\u0663", "00", "Z", "+01:00"]))
    return "".join(text).ljust(19, "0") + "Z"


@settings(max_examples=400)
@given(st.lists(edited(), min_size=1, max_size=4))
def test_texts_that_end_in_z_are_taken_exactly_where_the_pattern_takes_them(
    texts: list[str],
) -> None:
    for text, found in zip(texts, parse_timestamps(pa.array(texts)), strict=True):
        if found.is_valid:
            assert re.fullmatch(RFC3339, text, re.ASCII)
        assert found.as_py() == parse(text)
