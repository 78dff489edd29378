"""A lake that has something to show on every page: gives it simulated, built by dbt, published.

Weeks of four poles that report every five minutes, with a demand-response event on the last
but one evening, and the last three hours of two feeders that report every second: sags of meters,
of poles and of a feeder, an outage, a silent pole, losses, copies, late and damaged readings.
`python tests/ami_dashboard/show_lake.py FOLDER` makes it to be looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import yaml

from ami_contract.lake import DataDir
from ami_store.lake import compact_hour, compaction_connection, hours
from ami_store.warehouse import publish

ROOT: Final = Path(__file__).resolve().parents[2]
END: Final = datetime(2026, 7, 16, 22, tzinfo=UTC)
DAYS: Final = 48
"""Enough for a verdict on the accuracy of baselines, which needs 20 days with 10 before each."""
FAST_BEGIN: Final = END - timedelta(hours=3)
# Wednesday, 15 July 2026, 17:00 to 19:00 in Los Angeles.
DR_START: Final = datetime(2026, 7, 16, 0, tzinfo=UTC)
DR_END: Final = DR_START + timedelta(hours=2)
DR_EVENT: Final = "heat-2026-07-15"
NOW: Final = END + timedelta(seconds=40)
"""Clock of whoever looks at it."""
SILENT_SINCE: Final = END - timedelta(minutes=11)

_COMMON: Final[dict[str, Any]] = {"time_zone": "America/Los_Angeles", "voltage_nominal": 240}
SLOW: Final = {
    **_COMMON,
    "seed": 21,
    "fleet": {
        "feeders": 2,
        "poles": 4,
        "meters_per_pole": 6,
        "id_prefix": "hill-",
        "latitude": 37.803,
        "longitude": -122.304,
    },
    "sample_hz": 1 / 300,
    "batch_interval_s": 300,
    "voltage_sag_prob": 0.0,
    "drop_prob": 0.0003,
    "load_profile": {"base_kw": 1.4, "noise_sigma": 0.1},
    "dr_events": [
        {
            "event_id": DR_EVENT,
            "start": DR_START.isoformat(),
            "duration_s": 7200,
            "participation": 0.8,
            "shed_share": 0.4,
        }
    ],
}
FAST: Final = {
    **_COMMON,
    "seed": 4,
    "fleet": {
        "feeders": 2,
        "poles": 5,
        "meters_per_pole": 4,
        "id_prefix": "bay-",
        "latitude": 37.8,
        "longitude": -122.3,
    },
    "network_profile": ["wired", "5g", "lte_m", "sat"],
    "drop_prob": 0.004,
    "duplicate_prob": 0.002,
    "reorder_prob": 0.004,
    "reorder_max_batches": 40,
    "bad_payload_prob": 0.0006,
    "voltage_sag_prob": 1.0,
    "voltage_sag_depth": [0.12, 0.42],
    "voltage_sag_duration_s": [5, 20],
    "sag_scope_shares": {"meter": 0.4, "pole": 0.35, "feeder": 0.25},
    "outages": [
        {
            "subject": "bay-meter-0002-003",
            "start": (END - timedelta(minutes=95)).isoformat(),
            "duration_s": 1200,
        }
    ],
    "silences": [
        {
            "meter_id": f"bay-meter-0005-{number:03}",
            "start": SILENT_SINCE.isoformat(),
            "duration_s": 7200,
        }
        for number in range(1, 5)
    ],
}


def _run(*command: str, data: DataDir) -> None:
    environment = {**os.environ, "AMI_DATA_DIR": str(data.root), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _simulate(
    data: DataDir, config: dict[str, Any], name: str, begin: datetime, end: datetime
) -> None:
    path = data.root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    _run(
        *(sys.executable, "-m", "ami_cli.main", "simulate", "--config", str(path)),
        *("--from", begin.isoformat(), "--to", end.isoformat(), "--out", str(data.root)),
        *("--truth", str(data.truth)),
        data=data,
    )


def _dbt(data: DataDir, *arguments: str) -> None:
    _run(
        *(str(Path(sys.executable).with_name("dbt")), *arguments),
        *("--project-dir", str(ROOT / "dbt_ami"), "--profiles-dir", str(ROOT / "dbt_ami")),
        *("--target-path", str(data.root / "target"), "--log-path", str(data.root / "logs")),
        data=data,
    )


def make_show_lake(data: DataDir, days: int = DAYS) -> None:
    """Simulate `days` before the last midnight, compact, build and publish into an empty folder."""
    begin = END - timedelta(days=days, hours=15)
    data.root.mkdir(parents=True, exist_ok=True)
    _simulate(data, FAST, "fast", FAST_BEGIN, END)
    # With the reading at the end itself they are as fresh as the others.
    _simulate(data, SLOW, "slow", begin, END + timedelta(seconds=1))
    con = compaction_connection()
    for hour in list(hours(data)):
        compact_hour(data, hour.start, now=END, con=con)
    con.close()
    _dbt(data, "seed")
    with duckdb.connect(str(data.warehouse)) as writing:
        writing.execute("DELETE FROM dr_events")
        writing.execute(
            "INSERT INTO dr_events (event_id, start_ts, end_ts, pole_ids, program, notes) "
            "VALUES (?, ?, ?, ?, 'summer evenings', NULL)",
            [DR_EVENT, DR_START, DR_END, ";".join(f"hill-pole-{n:04}" for n in range(1, 5))],
        )
    _dbt(data, "run")
    publish(data)
    at = (END + timedelta(seconds=15)).timestamp()
    os.utime(data.published_warehouse, (at, at))


if __name__ == "__main__":
    make_show_lake(DataDir(Path(sys.argv[1]).absolute()))
