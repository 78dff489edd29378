"""What Dagster asks BigQuery about stored readings, judged by GoogleSQL on a few rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import stored_rows

from ami_dagster.cloud import DayStored, RawTable

from .googlesql import GoogleSql
from .warehouses import load_step

SPAN = timedelta(seconds=2)
FRIDAY = datetime(2026, 2, 27, 23, 59, 59, tzinfo=UTC)
PLACE = re.compile(r"`p\.d(?:`\.INFORMATION_SCHEMA|\.(\w+)`)")


def judged_text(sql: str, parameters: list[tuple[str, str, Any]]) -> str:
    """The statement with its values in place, and names as the judge takes them."""
    for name, kind, value in parameters:
        text = value.isoformat() if isinstance(value, datetime) else value
        sql = sql.replace(f"@{name}", f"cast({text!r} as {kind})")
    return PLACE.sub(
        lambda found: f"`p`.`d`.{f'`{found[1]}`' if found[1] else 'INFORMATION_SCHEMA'}", sql
    )


@pytest.fixture
def table(googlesql: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RawTable]:
    """The raw table over rows of two days, two meters, one of them on another pole since."""
    rows = [
        *stored_rows(FRIDAY, [240.0, 240.0, 240.0], meter_id="m1").to_pylist(),
        *stored_rows(FRIDAY, [240.0], meter_id="m2").to_pylist(),
        *stored_rows(FRIDAY + SPAN, [240.0], meter_id="m2", pole_id="p9").to_pylist(),
    ]
    registered = {"feeder_id": "f1", "transformer_id": "t1", "nominal_voltage_v": 240.0}
    registered |= {"rated_kva": 25.0, "latitude": None, "longitude": None, "time_zone": "UTC"}
    meters = [
        {**registered, "meter_id": name, "pole_id": "p1", "sample_interval_ms": 1000,
         "valid_from": FRIDAY - timedelta(days=back), "valid_to": until}
        for name, back, until in (
            ("m1", 9, None), ("m2", 9, FRIDAY), ("m3", 9, FRIDAY + SPAN), ("m4", -9, None)
        )
    ]  # fmt: skip
    with GoogleSql(googlesql) as judge:
        for name, loaded in (("raw_meter_readings", rows), ("meters", meters)):
            judge.ask("load", **load_step(name, loaded)["load"])

        def asked(
            _self: RawTable, sql: str, parameters: list[tuple[str, str, Any]], most_bytes: int
        ) -> list[dict[str, Any]]:
            assert most_bytes > 0
            answer = judge.ask("script", sql=judged_text(sql, parameters))
            names = [name for name, _ in answer["columns"]]
            return [dict(zip(names, row, strict=True)) for row in answer["rows"]]

        monkeypatch.setattr(RawTable, "_rows", asked)
        yield RawTable(project_id="p", location="US", dataset="d", maximum_bytes_billed=10**9)


def test_days_meters_and_service_are_what_the_rows_say(table: RawTable) -> None:
    days = table.days()

    assert {day: (held.rows, held.logical_bytes) for day, held in days.items()} == {
        date(2026, 2, 27): (2, 320),
        date(2026, 2, 28): (3, 480),
    }
    assert all(isinstance(held, DayStored) and held.modified_at.tzinfo for held in days.values())
    assert table.heard(FRIDAY) == {"m1": ("p1", FRIDAY + SPAN), "m2": ("p9", FRIDAY + SPAN)}
    assert table.heard(FRIDAY + SPAN + timedelta(seconds=1)) == {}
    since = {"pole_id": "p1", "sample_interval_ms": 1000, "valid_from": FRIDAY - timedelta(days=9)}
    assert table.in_service(FRIDAY) == {"m1": since, "m3": since}
