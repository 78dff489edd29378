"""Plain values that tests of several folders build on: rows, a filled lake, processes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ami_contract.lake import DataDir
from ami_contract.reading import ROW_SCHEMA
from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.lake import land
from ami_store.registry import write_registry

HOUR = datetime(2026, 3, 1, 14, tzinfo=UTC)


def stored_rows(
    start: datetime,
    voltages_v: list[float],
    *,
    meter_id: str = "m1",
    pole_id: str = "p1",
    ingest_ts: datetime | None = None,
) -> pa.Table:
    """One row a second from `start` with the given voltages; `seq` counts from 2026-01-01."""
    origin = datetime(2026, 1, 1, tzinfo=UTC)
    rows: list[dict[str, Any]] = []
    for i, voltage_v in enumerate(voltages_v):
        event_ts = start + timedelta(seconds=i)
        rows.append(
            {
                "event_ts": event_ts,
                "meter_id": meter_id,
                "pole_id": pole_id,
                "seq": int((event_ts - origin).total_seconds()),
                "voltage_v": voltage_v,
                "current_a": 5.0,
                "power_kw": 1.2,
                "reactive_kvar": 0.2,
                "freq_hz": 60.0,
                "quality_flags": [],
                "batch_id": "b1",
                "ingest_ts": ingest_ts or event_ts + timedelta(seconds=2),
                "event_date": event_ts.date(),
            }
        )
    return pa.Table.from_pylist(rows, ROW_SCHEMA)


def fill_lake(data: DataDir) -> None:
    """Two meters for ten minutes before and after 15:00; m1 sags 6 s across the full hour."""
    for meter_id in ("m1", "m2"):
        before = [240.0] * 600
        after = [240.0] * 600
        if meter_id == "m1":
            before[-3:] = [200.0, 198.0, 199.0]
            after[:3] = [201.0, 202.0, 203.0]
        first = HOUR + timedelta(minutes=50)
        second = HOUR + timedelta(hours=1)
        land(data, HOUR, f"one-{meter_id}", stored_rows(first, before, meter_id=meter_id))
        land(data, second, f"two-{meter_id}", stored_rows(second, after, meter_id=meter_id))
    write_registry(
        data.registry,
        pa.Table.from_pylist(
            [
                {
                    "meter_id": meter_id,
                    "pole_id": "p1",
                    "feeder_id": "f1",
                    "transformer_id": "t1",
                    "nominal_voltage_v": 240.0,
                    "sample_interval_ms": 1000,
                    "rated_kva": 25.0,
                    "valid_from": HOUR,
                }
                for meter_id in ("m1", "m2")
            ],
            REGISTRY_SCHEMA,
        ),
    )
