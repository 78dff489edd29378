"""Expected, missing, late and repeated readings per meter and hour against loops."""

from datetime import datetime

import pytest

from .conftest import Built, assert_same_rows
from .fleet import Row
from .reference_quality import data_quality

Hours = dict[tuple[str, datetime], Row]


@pytest.fixture(scope="module")
def hours(built: Built) -> Hours:
    return data_quality(built.reference, built.stored)


def test_hours_equal_brute_force(built: Built, hours: Hours) -> None:
    actual = {
        (r["meter_id"], r["hour_ts"]): r
        for r in built.rows("select * from meter_data_quality_hourly")
    }

    assert set(next(iter(actual.values()))) == {
        "meter_id",
        "hour_ts",
        *next(iter(hours.values())),
    }
    assert_same_rows(actual, hours, {"latency_max_s"})


def test_every_stored_row_is_counted(built: Built) -> None:
    (counted,) = built.con.execute(
        "select sum(stored_rows) from meter_data_quality_hourly"
    ).fetchone()

    assert counted == len(built.stored)


@pytest.mark.parametrize(
    "column",
    [
        "lost",
        "not_sampled",
        "late",
        "estimated_readings",
        "placeholder_readings",
        "duplicates",
        "conflicting_copies",
        "repeated_seq",
    ],
)
def test_the_fleet_shows_every_fault(hours: Hours, column: str) -> None:
    assert any(h[column] for h in hours.values())
