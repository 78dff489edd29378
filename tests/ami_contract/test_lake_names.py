"""Hours of the lake: instant, partition key and folder name each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami_contract.lake import (
    DataDir,
    floor_hour,
    hour_folder,
    hour_of_folder,
    hour_of_key,
    hours_between,
    partition_key,
)

instants = st.datetimes(
    min_value=datetime(2000, 1, 2),  # noqa: DTZ001
    max_value=datetime(2199, 12, 30),  # noqa: DTZ001
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)


@given(instants)
def test_the_hour_of_an_instant_holds_it(instant: datetime) -> None:
    hour = floor_hour(instant)

    assert hour <= instant < hour + timedelta(hours=1)
    assert (hour.minute, hour.second, hour.microsecond, hour.tzinfo) == (0, 0, 0, UTC)


@given(instants)
def test_keys_and_folders_round_trip(instant: datetime) -> None:
    hour = floor_hour(instant)

    assert hour_of_key(partition_key(hour)) == hour
    assert hour_of_folder(Path("/lake/landing") / hour_folder(hour)) == hour


@given(instants, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_hours_between_are_exactly_those_that_meet_the_span(
    start: datetime, length: timedelta
) -> None:
    end = start + length
    hour, expected = floor_hour(start), []
    while hour < end:
        expected.append(hour)
        hour += timedelta(hours=1)

    found = list(hours_between(start, end))

    assert found == expected
    assert all(h < end and h + timedelta(hours=1) > start for h in found)


def test_names_are_as_documented() -> None:
    hour = datetime(2026, 3, 1, 15, tzinfo=timezone(timedelta(hours=1)))

    assert partition_key(hour) == "2026-03-01-14:00"
    assert hour_folder(hour) == "dt=2026-03-01/hr=14"


@pytest.mark.parametrize("key", ["2026-03-01", "2026-03-01-24:00", "2026-03-01T14:00", ""])
def test_a_text_that_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError):
        hour_of_key(key)


@pytest.mark.parametrize("folder", ["dt=2026-03-01/hr=99", "2026-03-01/14", "dt=x/hr=14"])
def test_a_folder_that_is_no_hour_is_refused(folder: str) -> None:
    with pytest.raises(ValueError):
        hour_of_folder(Path("/lake") / folder)


def test_everything_a_run_writes_lies_in_a_folder_below_the_data_folder(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    places = [
        getattr(data, name)
        for name, kind in vars(DataDir).items()
        if isinstance(kind, property) and name != "folders"
    ]

    assert len(set(places)) == len(places) == 25
    assert all(any(place.is_relative_to(one) for one in data.folders) for place in places)
    assert all(folder.parent == tmp_path for folder in data.folders)
