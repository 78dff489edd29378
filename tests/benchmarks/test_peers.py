"""Peers: reads readings made up by hand, checks that each engine gives what the platform defines.

Polars and ClickHouse live in an environment of their own, which is installed on demand: slow.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from benchmarks.peers import compaction, sags
from benchmarks.peers.tutorial_baseline import sheds
from benchmarks.peers.tutorial_health import health
from benchmarks.processes import PEERS_LOCK, ROOT, peer

START = datetime(2026, 3, 1, tzinfo=UTC)
HERE = ("duckdb", "pandas")
ELSEWHERE = ("polars", "clickhouse")

# Each letter is a second: L low, H high, . not received. Runs by first and last second.
CASES = {
    "whole": ("HHLLLLLHH", [(2, 6)]),
    "four": ("HHLLLLHHH", []),
    "bridged": ("HLL.....LLH", [(1, 9)]),
    "six-missing": ("HLLLLL......LLLLLH", [(1, 5), (12, 16)]),
    "one-high-between": ("LLLHLLL", []),
    "two-events": ("LLLLLHLLLLL", [(0, 4), (6, 10)]),
    "two-readings": ("HL...LH", [(1, 5)]),
    "one-reading": ("HLH", []),
}


def readings_file(folder: Path) -> Path:
    """All cases as one meter each, in two files that meet within a run, rows shuffled."""
    rows = [
        {
            "meter_id": meter_id,
            "pole_id": "p",
            "seq": second,
            "event_ts": START + timedelta(seconds=second),
            "voltage_v": 200.0 + second if letter == "L" else 240.0,
        }
        for meter_id, (letters, _) in CASES.items()
        for second, letter in enumerate(letters)
        if letter != "."
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=1)
    for hour, part in enumerate((table[table["seq"] < 5], table[table["seq"] >= 5])):
        place = folder / "dt=2026-03-01" / f"hr={hour:02}"
        place.mkdir(parents=True)
        part.to_parquet(place / "readings-1.parquet", index=False)
    return folder


def check_events(target: Path) -> None:
    found = duckdb.execute(
        "SELECT meter_id, list((first_seq::INT, last_seq::INT) ORDER BY first_seq), "
        f"min(epoch(start_ts::TIMESTAMPTZ) - first_seq - {START.timestamp()}) "
        f"FROM '{target}' GROUP BY 1"
    ).fetchall()
    assert {meter: list(runs) for meter, runs, _ in found} == {
        meter: runs for meter, (_, runs) in CASES.items() if runs
    }
    assert {offset_s for _, _, offset_s in found} == {0}
    lowest = duckdb.execute(
        f"SELECT min_voltage_v, sample_count FROM '{target}' WHERE meter_id = 'bridged'"
    ).fetchall()
    assert lowest == [(201.0, 4)]


@pytest.mark.parametrize("engine", HERE)
def test_events_are_those_of_the_definition(tmp_path: Path, engine: str) -> None:
    folder = readings_file(tmp_path / "readings")
    target = tmp_path / "events.parquet"
    sags.ENGINES[engine](f"{folder}/*/*/readings-*.parquet", str(target))
    check_events(target)


def landed_files(folder: Path) -> Path:
    """Two files of an hour; m1's seq 1 came twice, with the earlier copy in the later file."""
    place = folder / "dt=2026-03-01" / "hr=00"
    place.mkdir(parents=True)
    stored = [
        [("m2", 1, 5), ("m1", 1, 9)],
        [("m1", 2, 7), ("m1", 1, 6)],
    ]
    for number, rows in enumerate(stored):
        pd.DataFrame(
            {
                "meter_id": [meter for meter, _, _ in rows],
                "seq": [seq for _, seq, _ in rows],
                "event_ts": [START + timedelta(seconds=seq) for _, seq, _ in rows],
                "ingest_ts": [START + timedelta(seconds=at) for _, _, at in rows],
                "came_s": [at for _, _, at in rows],
            }
        ).to_parquet(place / f"{number}.parquet", index=False)
    return folder


def check_compacted(target: Path) -> None:
    table = pd.read_parquet(target)
    assert list(table.columns) == ["meter_id", "seq", "event_ts", "ingest_ts", "came_s"]
    kept = table[["meter_id", "seq", "came_s"]].to_records(index=False).tolist()
    assert kept == [("m1", 1, 6), ("m1", 2, 7), ("m2", 1, 5)]


@pytest.mark.parametrize("engine", HERE)
def test_the_first_copy_stays_and_readings_are_sorted(tmp_path: Path, engine: str) -> None:
    folder = landed_files(tmp_path / "landed")
    target = tmp_path / "compacted.parquet"
    compaction.ENGINES[engine](f"{folder}/*/*/*.parquet", str(target))
    check_compacted(target)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ELSEWHERE)
def test_engines_of_the_other_environment_give_the_same(tmp_path: Path, engine: str) -> None:
    target = tmp_path / "events.parquet"
    cost = peer(
        sags.__name__,
        engine,
        readings_file(tmp_path / "readings") / "*/*/readings-*.parquet",
        target,
        1,
    )
    check_events(target)
    assert cost.keys() == {"wall_s", "cpu_s", "memory_bytes"}
    assert 10e6 < cost["memory_bytes"] < 1e9
    folder = landed_files(tmp_path / "landed")
    peer(compaction.__name__, engine, folder / "*/*/*.parquet", target, 1)
    check_compacted(target)


def test_peers_packages_are_in_no_lock_of_the_platform() -> None:
    of_peers = PEERS_LOCK.read_text()
    for name in ("chdb", "polars"):
        assert f"\n{name}==" in of_peers
        for lock in ("requirements.lock", "requirements-dev.lock"):
            assert f"\n{name}==" not in (ROOT / lock).read_text()


def test_peers_use_the_platforms_versions_of_what_both_have() -> None:
    def versions(lock: Path) -> dict[str, str]:
        pins = (line.split(" ")[0] for line in lock.read_text().splitlines() if "==" in line)
        return dict(pin.split("==") for pin in pins if pin[:1].isalpha())

    theirs, ours = versions(PEERS_LOCK), versions(ROOT / "requirements.lock")
    assert {name: ours[name] for name in ("duckdb", "pandas", "pyarrow")} == {
        name: theirs[name] for name in ("duckdb", "pandas", "pyarrow")
    }


def test_the_notebooks_health_of_a_pole_is_the_one_worked_out_by_hand(tmp_path: Path) -> None:
    """One hour: m1 lacks its first 36 readings and sags to 200 V for 6 s, m2 draws 4 kvar."""
    rows = []
    for meter_id, reactive_kvar in (("m1", 0.0), ("m2", 4.0)):
        for second in range(3600):
            if meter_id == "m1" and second < 36:
                continue
            is_low = meter_id == "m1" and 100 <= second < 106
            rows.append((meter_id, second, 200.0 if is_low else 240.0, reactive_kvar))
    table = pd.DataFrame(rows, columns=["meter_id", "seq", "voltage_v", "reactive_kvar"])
    table["pole_id"], table["power_kw"] = "p", 1.5
    table["event_ts"] = START + pd.to_timedelta(table["seq"], unit="s")
    table.to_parquet(tmp_path / "readings-1.parquet", index=False)
    registry = tmp_path / "meters.csv"
    registry.write_text("meter_id,pole_id,rated_kva\nm1,p,5\nm2,p,5\n")
    target = tmp_path / "health.parquet"
    health(str(tmp_path), str(registry), str(target))
    [row] = pd.read_parquet(target).to_dict("records")
    assert row["received"] == 7164
    assert row["pct_low"] == pytest.approx(600 / 7164)
    assert row["energy_kwh"] == pytest.approx(1.5 * 7164 / 3600)
    assert row["peak_kw"] == pytest.approx(3.0)
    assert row["share_out_of_limits"] == 0
    assert row["meters_with_event"] == 1
    assert row["missing_rate"] == pytest.approx(0.005)
    # √(3² + 4²) kVA of 5 kVA.
    assert row["loading"] == pytest.approx(1.0)
    assert row["score"] == pytest.approx(
        100 * (0.35 * 1 + 0.25 * 0.5 + 0.25 * 0.95 + 0.15 * (0.5 / 0.7))
    )


def test_the_notebooks_shed_is_the_one_worked_out_by_hand(tmp_path: Path) -> None:
    """Eleven working days at 1 to 11 kW, weekends at 99 kW; the day of the event begins at 7.7 kW.

    The ten days before it mean (2 + … + 11)/10 = 6.5 kW; the morning's factor 7.7/6.5 is below 1.2.
    """
    days = pd.bdate_range("2026-01-05", periods=12)
    slots = []
    for day in pd.date_range("2026-01-05", days[-1]):
        at = pd.date_range(day, periods=288, freq="5min", tz="America/Los_Angeles")
        number = days.get_indexer([day])[0]
        kw = 99.0 if number < 0 else float(number + 1)
        slots += [(t, kw if number < 11 else 7.7 if t.hour < 16 else 5.0) for t in at]
    table = pd.DataFrame(slots, columns=["slot_ts", "dr_power_kw"])
    table["slot_ts"], table["pole_id"] = table["slot_ts"].dt.tz_convert("UTC"), "p"
    table.to_parquet(tmp_path / "power.parquet", index=False)
    start, end = (f"{days[-1]:%Y-%m-%d}T{hour}:00:00-08:00" for hour in (16, 18))
    target = tmp_path / "shed.parquet"
    sheds(str(tmp_path / "power.parquet"), "America/Los_Angeles", start, end, str(target))
    [row] = pd.read_parquet(target).to_dict("records")
    assert row["baseline_kwh"] == pytest.approx(2 * 6.5 * (7.7 / 6.5))
    assert row["shed_kwh"] == pytest.approx(2 * 7.7 - 2 * 5.0)


def test_a_peers_failure_is_told_with_its_last_lines() -> None:
    from benchmarks.definition import BenchmarkError
    from benchmarks.processes import in_own_process

    with pytest.raises(BenchmarkError, match="KeyError: 'excel'"):
        in_own_process(sags.__name__, "excel", "none", "none", 1)


def test_peers_are_told_nothing_of_the_platform() -> None:
    """Their modules must load where none of the platform's packages are installed."""
    for module in ("sags", "compaction", "tutorial_health", "tutorial_baseline", "cost"):
        source = (ROOT / "benchmarks" / "peers" / f"{module}.py").read_text()
        done = subprocess.run(
            ["grep", "-E", r"^\s*(from|import) (ami_|beam_|simulator|local_)"],
            input=source, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout == ""
