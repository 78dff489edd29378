"""Expected, missing, late and repeated readings per meter and hour against loops."""

import pytest

from .conftest import Built, assert_same_rows
from .reference_quality import data_quality


def test_hours_equal_brute_force(built: Built) -> None:
    actual = {
        (r["meter_id"], r["hour_ts"]): r
        for r in built.rows("select * from meter_data_quality_hourly")
    }
    expected = data_quality(built.reference, built.stored)

    assert set(next(iter(actual.values()))) == {
        "meter_id",
        "hour_ts",
        *next(iter(expected.values())),
    }
    assert_same_rows(actual, expected, {"latency_max_s"})


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
def test_the_fleet_shows_every_fault(built: Built, column: str) -> None:
    hours = data_quality(built.reference, built.stored).values()

    assert any(h[column] for h in hours)
