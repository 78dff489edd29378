"""A stranger's file goes the way of live messages: stored, or refused with its row number."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from ingest_helpers import BOUNDS, dead_letters, files_below, json_lines, stored_rows

from ami_contract.errors import LakeError, SettingsError
from ami_contract.lake import DataDir
from ami_store.lake import compact_hour, compaction_connection, hours
from ami_store.registry import read_registry
from ami_store.views import lake_views
from beam_jobs import importer
from beam_jobs.import_map import ImportMap, load_map, zone_of
from beam_jobs.importer import ImportSummary, import_file

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
START = datetime(2025, 7, 1, tzinfo=UTC)
MAP: dict[str, Any] = {
    "event_ts": "time",
    "meter_id": {"column": "meter"},
    "pole_id": "p1",
    "voltage_v": "volt",
    "current_a": "amp",
    "power_kw": {"column": "watt", "unit": "W"},
    "sample_interval_s": 60,
    "registry": {"nominal_voltage_v": 230},
}
HEADER = "time,meter,volt,amp,watt"


def utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)  # type: ignore[misc,arg-type]


def csv(tmp_path: Path, *lines: str, header: str = HEADER, name: str = "file.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def minutes(count: int, meter: str = "m1") -> list[str]:
    """Good rows, a minute apart."""
    return [
        f"{START + timedelta(minutes=i):%Y-%m-%dT%H:%M:%SZ},{meter},{230 + i % 7},2.5,{500 + i}"
        for i in range(count)
    ]


def mapping(**changes: Any) -> ImportMap:
    return ImportMap.model_validate({k: v for k, v in (MAP | changes).items() if v is not ...})


def run(data: DataDir, path: Path, map_: ImportMap | None = None, **options: Any) -> ImportSummary:
    return import_file(
        data,
        path,
        map_ or mapping(),
        **{"now": lambda: NOW, "bounds": BOUNDS} | options,
    )


def rows(data: DataDir) -> list[dict[str, Any]]:
    return sorted(stored_rows(data), key=lambda r: (r["meter_id"], r["event_ts"]))


def times(data: DataDir) -> list[datetime]:
    return [r["event_ts"] for r in rows(data)]


def refusals(data: DataDir) -> list[tuple[int, str, str]]:
    found = [(r["source_row"], r["code"], r["field"]) for r in dead_letters(data)]
    return sorted(found)


def test_rows_become_readings_in_the_contract_s_units(data: DataDir, tmp_path: Path) -> None:
    path = csv(tmp_path, "2025-07-01T00:00:00Z,m1,231.5,2.5,1500")
    summary = run(data, path)

    (row,) = rows(data)
    assert row["event_ts"] == START
    assert (row["meter_id"], row["pole_id"]) == ("m1", "p1")
    assert (row["voltage_v"], row["current_a"], row["power_kw"]) == (231.5, 2.5, 1.5)
    # Minutes from 2000-01-01 to 2025-07-01: 9 313 days.
    assert row["seq"] == 9313 * 1440
    assert row["ingest_ts"] == NOW
    assert row["freq_hz"] is None
    assert (summary.rows, summary.stored, summary.refused) == (1, 1, {})
    assert (summary.meters_added, summary.finished, summary.repeated) == (1, True, False)
    (entry,) = read_registry(data.registry).to_pylist()
    assert (entry["meter_id"], entry["pole_id"], entry["valid_from"]) == ("m1", "p1", START)
    assert (entry["nominal_voltage_v"], entry["sample_interval_ms"]) == (230.0, 60_000)
    (archived,) = json_lines(data.archive)
    assert archived["attributes"]["source_file"] == "file.csv"


def test_every_unit_is_converted(data: DataDir, tmp_path: Path) -> None:
    path = csv(
        tmp_path, "2025-07-01T00:00:00Z,0.23,2500,0.0015,200,50010", header="t,kv,ma,mw,var,mhz"
    )
    run(
        data,
        path,
        mapping(
            event_ts="t",
            meter_id="m1",
            voltage_v={"column": "kv", "unit": "kV"},
            current_a={"column": "ma", "unit": "mA"},
            power_kw={"column": "mw", "unit": "MW"},
            reactive_kvar={"column": "var", "unit": "var"},
            freq_hz={"column": "mhz", "unit": "mHz"},
        ),
    )

    (row,) = rows(data)
    assert row["voltage_v"] == pytest.approx(230.0)
    assert row["current_a"] == pytest.approx(2.5)
    assert row["power_kw"] == pytest.approx(1.5)
    assert row["reactive_kvar"] == pytest.approx(0.2)
    assert row["freq_hz"] == pytest.approx(50.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"power_kw": {"column": "watt", "unit": "hp"}}, "power_kw.unit = 'hp': allowed are kW, W"),
        ({"time_zone": "Mars/Olympus"}, "time_zone = 'Mars/Olympus'"),
        ({"time_zone": "Europe"}, "'Europe' is neither an IANA zone nor an offset"),
        ({"time_zone": "+24:00"}, "time_zone = '+24:00'"),
        ({"voltage": "volt"}, "voltage = 'volt': Extra inputs are not permitted"),
        ({"voltage_v": {"column": "volt", "units": "V"}}, "voltage_v.units = 'V'"),
        ({"voltage_v": ...}, "voltage_v = "),
        ({"registry": ...}, "registry = "),
        ({"registry": {"nominal_voltage_v": 0}}, "registry.nominal_voltage_v = 0"),
        ({"sample_interval_s": 0}, "sample_interval_s = 0"),
        ({"sample_interval_s": "often"}, "sample_interval_s = 'often'"),
        ({"event_ts": {"columns": []}}, "event_ts.columns = "),
        ({"meter_id": {"value": "m1", "column": "meter"}}, "give either `value` or `column`"),
        ({"meter_id": {}}, "give either `value` or `column`"),
        ({"delimiter": ";;"}, "delimiter = ';;'"),
        ({"decimal_point": "'"}, "decimal_point = "),
    ],
)
def test_a_map_with_a_mistake_is_told_in_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in (MAP | changes).items() if v is not ...}))

    with pytest.raises(SettingsError) as caught:
        load_map(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "- a list", "event_ts: [unclosed", "\x00"])
def test_a_map_that_is_no_map_is_told_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(content)

    with pytest.raises(SettingsError) as caught:
        load_map(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_an_absent_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: No such file"):
        load_map(tmp_path / "none.yaml")


def test_a_map_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump(MAP))

    assert load_map(path) == mapping()
    assert load_map(path).columns == ["time", "volt", "amp", "watt", "meter"]
    assert load_map(path).factor("power_kw") == 0.001


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"voltage_v": "Volt"}, "'Volt'"),
        ({"event_ts": {"columns": ["date", "time"]}}, "'date'"),
        ({"seq": "counter"}, "'counter'"),
        ({"pole_id": {"column": "pole"}}, "'pole'"),
    ],
)
def test_a_missing_column_is_told_before_anything_is_written(
    data: DataDir, tmp_path: Path, changes: dict[str, Any], column: str
) -> None:
    path = csv(tmp_path, *minutes(2))

    with pytest.raises(SettingsError) as caught:
        run(data, path, mapping(**changes))

    assert f"the map names the column {column}, which the file does not have" in str(caught.value)
    assert "it has time, meter, volt, amp, watt" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not data.root.exists()


@pytest.mark.parametrize("name", ["none.csv", "empty.csv", "damaged.parquet", "damaged.csv.gz"])
def test_a_file_that_cannot_be_read_is_told_before_anything_is_written(
    data: DataDir, tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "damaged.csv.gz").write_bytes(b"\x1f\x8b no")

    with pytest.raises(SettingsError, match=f"{name}: cannot be read"):
        run(data, tmp_path / name)
    assert not data.root.exists()


def test_a_repeated_hour_is_read_in_order_for_each_meter(data: DataDir, tmp_path: Path) -> None:
    # Paris sets its clock back from 03:00 to 02:00 on 26 October 2025.
    local = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    lines = [f"2025-10-26 {t}:00,{m},230,1,100" for t in local for m in ("m1", "m2")]
    run(data, csv(tmp_path, *lines), mapping(time_zone="Europe/Paris", sample_interval_s=1800))

    half_hours = [
        utc(2025, 10, 25, 23, 30),
        utc(2025, 10, 26, 0, 0),
        utc(2025, 10, 26, 0, 30),
        utc(2025, 10, 26, 1, 0),
        utc(2025, 10, 26, 1, 30),
        utc(2025, 10, 26, 2, 0),
    ]
    assert times(data) == half_hours * 2
    seqs = [r["seq"] for r in rows(data)][:6]
    assert [b - a for a, b in pairwise(seqs)] == [1] * 5


def test_a_time_in_the_skipped_hour_is_refused_with_its_row(data: DataDir, tmp_path: Path) -> None:
    # Paris sets its clock from 02:00 to 03:00 on 30 March 2025.
    lines = [f"2025-03-30 {t}:00,m1,230,1,100" for t in ("01:30", "02:30", "03:00")]
    run(data, csv(tmp_path, *lines), mapping(time_zone="Europe/Paris", sample_interval_s=1800))

    assert times(data) == [utc(2025, 3, 30, 0, 30), utc(2025, 3, 30, 1, 0)]
    (letter,) = dead_letters(data)
    assert (letter["source_row"], letter["code"]) == (2, "bad_timestamp")
    assert "2025-03-30T02:30:00 does not exist in Europe/Paris" in letter["detail"]


@pytest.mark.parametrize(
    ("zone", "text", "instant"),
    [
        ("UTC", "2025-07-01 10:00:00", utc(2025, 7, 1, 10)),
        ("Europe/Paris", "2025-07-01 10:00:00", utc(2025, 7, 1, 8)),
        ("Europe/Paris", "2025-07-01T10:00:00+00:00", utc(2025, 7, 1, 10)),
        ("+05:30", "2025-07-01 10:00", utc(2025, 7, 1, 4, 30)),
        ("-03:00", "2025-07-01", utc(2025, 7, 1, 3)),
    ],
)
def test_times_without_zone_are_in_the_map_s(
    data: DataDir, tmp_path: Path, zone: str, text: str, instant: datetime
) -> None:
    run(data, csv(tmp_path, f"{text},m1,230,1,100"), mapping(time_zone=zone))

    assert times(data) == [instant]


def test_zones_are_names_or_offsets() -> None:
    assert zone_of("-03:30").utcoffset(None) == timedelta(hours=-3, minutes=-30)
    assert str(zone_of("Europe/Paris")) == "Europe/Paris"
    with pytest.raises(ValueError, match="neither an IANA zone"):
        zone_of("../UTC")


def test_decimal_comma_semicolon_and_separate_date_and_time(data: DataDir, tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "16/12/2006;17:24:00;234,84;18,4;4,216",
        "16/12/2006;17:25:00;?;18,4;4,216",
        header="Date;Time;Voltage;Global_intensity;Global_active_power",
    )
    summary = run(
        data,
        path,
        mapping(
            event_ts={"columns": ["Date", "Time"], "format": "%d/%m/%Y %H:%M:%S"},
            time_zone="+01:00",
            meter_id="m1",
            voltage_v="Voltage",
            current_a="Global_intensity",
            power_kw="Global_active_power",
            delimiter=";",
            decimal_point=",",
        ),
    )

    (row,) = rows(data)
    assert row["event_ts"] == utc(2006, 12, 16, 16, 24)
    assert (row["voltage_v"], row["current_a"], row["power_kw"]) == (234.84, 18.4, 4.216)
    assert refusals(data) == [(2, "null_field", "voltage_v")]
    assert summary.refused == {"null_field": 1}


@pytest.mark.parametrize(
    ("form", "value"), [("unix_ms", "1751328000500"), ("unix_s", "1751328000.5")]
)
def test_unix_times_are_read(data: DataDir, tmp_path: Path, form: str, value: str) -> None:
    path = csv(tmp_path, f"{value},m1,230,1,100", "never,m1,230,1,100", "1e300,m1,230,1,100")
    run(data, path, mapping(event_ts={"column": "time", "format": form}))

    assert times(data) == [START + timedelta(milliseconds=500)]
    assert refusals(data) == [(2, "bad_timestamp", "event_ts"), (3, "bad_timestamp", "event_ts")]


@pytest.mark.parametrize(
    ("type_", "zone", "instant"),
    [
        (pa.timestamp("us", "UTC"), "Europe/Paris", utc(2025, 7, 1)),
        (pa.timestamp("ns"), "Europe/Paris", utc(2025, 6, 30, 22)),
        (pa.timestamp("ms"), "UTC", utc(2025, 7, 1)),
        (pa.timestamp("s", "Europe/Paris"), "UTC", utc(2025, 7, 1)),
    ],
)
def test_parquet_keeps_its_types(
    data: DataDir, tmp_path: Path, type_: pa.DataType, zone: str, instant: datetime
) -> None:
    stamp = pa.array([int(START.timestamp())], pa.int64()).cast(pa.timestamp("s")).cast(type_)
    table = pa.table(
        {
            "time": stamp if type_.tz is None else stamp.cast(type_),
            "meter": pa.array([7]),
            "volt": pa.array([231], pa.int16()),
            "amp": pa.array([2.5], pa.float32()),
            "watt": pa.array([500.0]),
            "other": pa.array([b"\xff"]),
        }
    )
    path = tmp_path / "file.parquet"
    pq.write_table(table, path)
    summary = run(data, path, mapping(time_zone=zone))

    (row,) = rows(data)
    assert row["event_ts"] == instant
    assert (row["meter_id"], row["voltage_v"], row["power_kw"]) == ("7", 231.0, 0.5)
    assert summary.stored == 1


def test_bad_parquet_cells_are_refused_row_by_row(data: DataDir, tmp_path: Path) -> None:
    second = int(START.timestamp()) * 10**6
    table = pa.table(
        {
            "time": pa.array([second, 2**62, second, None, second], pa.timestamp("us", "UTC")),
            "meter": ["m1"] * 5,
            "volt": pa.array([230.0, 230.0, float("nan"), 230.0, 5000.0]),
            "amp": [1.0] * 5,
            "watt": [100.0] * 5,
        }
    )
    path = tmp_path / "file.parquet"
    pq.write_table(table, path)
    run(data, path)

    assert len(rows(data)) == 1
    assert refusals(data) == [
        (2, "bad_timestamp", "event_ts"),
        (3, "null_field", "voltage_v"),
        (4, "null_field", "event_ts"),
        (5, "out_of_range", "voltage_v"),
    ]


def test_bad_rows_are_refused_with_row_number_reason_and_text(
    data: DataDir, tmp_path: Path
) -> None:
    lines = minutes(1500)
    lines[0] = lines[0].replace(",230,", ",high,")
    lines[999] = lines[999].replace("m1", "m 1")
    lines[1000] = lines[1000].replace("2025-07-01T16:40:00Z", "noon")
    lines[1499] = lines[1499].replace(",2.5,", ",,")
    summary = run(data, csv(tmp_path, *lines))

    assert refusals(data) == [
        (1, "wrong_type", "voltage_v"),
        (1000, "bad_identifier", "meter_id"),
        (1001, "bad_timestamp", "event_ts"),
        (1500, "null_field", "current_a"),
    ]
    payloads = {r["source_row"]: json.loads(r["payload"]) for r in dead_letters(data)}
    assert payloads[1]["voltage_v"] == "high"
    assert payloads[1001]["event_ts"] == "noon"
    assert {r["source_file"] for r in dead_letters(data)} == {"file.csv"}
    assert (summary.rows, summary.stored) == (1500, 1496)
    assert summary.refused == Counter(
        ["wrong_type", "bad_identifier", "bad_timestamp", "null_field"]
    )
    assert len(rows(data)) == 1496


@pytest.mark.parametrize(
    ("text", "stored", "code"),
    [
        ("7", 7, None),
        (" 7.0 ", 7, None),
        ("9007199254740991", 2**53 - 1, None),
        ("9007199254740993", None, "out_of_range"),
        ("9223372036854775807", None, "out_of_range"),
        ("9223372036854775808", None, "out_of_range"),
        ("1e30", None, "out_of_range"),
        ("-1", None, "out_of_range"),
        ("1.5", None, "not_an_integer"),
        ("seven", None, "wrong_type"),
        ("", None, "null_field"),
    ],
)
def test_a_counter_of_the_file_is_taken_exactly_or_refused(
    data: DataDir, tmp_path: Path, text: str, stored: int | None, code: str | None
) -> None:
    path = csv(tmp_path, f"2025-07-01T00:00:00Z,m1,230,1,100,{text}", header=HEADER + ",n")
    run(data, path, mapping(seq="n"))

    assert [r["seq"] for r in rows(data)] == ([] if stored is None else [stored])
    assert [c for _, c, _ in refusals(data)] == ([] if code is None else [code])


def test_a_second_import_changes_nothing(data: DataDir, tmp_path: Path) -> None:
    path = csv(tmp_path, *minutes(30), "noon,m1,230,1,100")
    first = run(data, path)
    before = files_below(data.root)
    second = run(data, path, now=lambda: NOW + timedelta(days=1))

    assert files_below(data.root) == before
    assert second.repeated
    assert not first.repeated
    assert (second.rows, second.stored, second.refused) == (31, 30, {"bad_timestamp": 1})
    assert second.import_id == first.import_id


def test_another_map_or_another_content_is_another_import(data: DataDir, tmp_path: Path) -> None:
    path = csv(tmp_path, *minutes(3))
    first = run(data, path)
    other_map = run(data, path, mapping(pole_id="p2"))
    other_file = run(data, csv(tmp_path, *minutes(4)))

    assert len({first.import_id, other_map.import_id, other_file.import_id}) == 3
    assert len(stored_rows(data)) == 10


def test_compressed_files_are_read(data: DataDir, tmp_path: Path) -> None:
    path = tmp_path / "file.csv.gz"
    path.write_bytes(gzip.compress(csv(tmp_path, *minutes(5)).read_bytes()))

    assert run(data, path).stored == 5


class PowerCut(Exception):
    """Ends an import in the middle."""


@pytest.mark.parametrize("runs_before_the_cut", [1, 2])
def test_an_import_cut_off_goes_on_and_stores_everything_exactly_once(
    data: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs_before_the_cut: int
) -> None:
    monkeypatch.setattr(importer, "ROWS_PER_MESSAGE", 10)
    monkeypatch.setattr(importer, "MESSAGES_PER_RUN", 2)
    path = csv(tmp_path, *minutes(20), "noon,m1,230,1,100", *minutes(70)[20:])
    done: list[int] = []

    def cut(count: int) -> None:
        done.append(count)
        if len(done) == runs_before_the_cut:
            raise PowerCut

    with pytest.raises(PowerCut):
        run(data, path, progress=cut)
    assert 0 < len(stored_rows(data)) < 70
    summary = run(data, path, now=lambda: NOW + timedelta(hours=1))

    assert not summary.repeated
    assert (summary.rows, summary.stored, summary.refused) == (71, 70, {"bad_timestamp": 1})
    expected = [START + timedelta(minutes=i) for i in range(70)]
    assert times(data) == expected
    assert refusals(data) == [(21, "bad_timestamp", "event_ts")]
    with compaction_connection() as con:
        for hour in list(hours(data)):
            compact_hour(data, hour.start, now=NOW, con=con)
        raw = con.execute(
            f"SELECT event_ts FROM ({lake_views(data)['raw_meter_readings']}) ORDER BY 1"
        ).fetchall()
    assert [event_ts for (event_ts,) in raw] == expected
    assert {r["ingest_ts"] for r in stored_rows(data)} == {NOW}


def test_progress_counts_the_rows_so_far(
    data: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "ROWS_PER_MESSAGE", 10)
    monkeypatch.setattr(importer, "MESSAGES_PER_RUN", 2)
    seen: list[int] = []
    run(data, csv(tmp_path, *minutes(45)), progress=seen.append)

    assert seen == [20, 40, 45]


def test_a_lake_that_cannot_be_written_is_told_and_the_next_try_does_it_all(
    data: DataDir, tmp_path: Path
) -> None:
    data.root.mkdir(parents=True)
    data.landing.write_text("in the way")
    path = csv(tmp_path, *minutes(3))

    with pytest.raises(LakeError, match="landing"):
        run(data, path)
    data.landing.unlink()

    assert run(data, path).stored == len(stored_rows(data)) == 3


def test_every_meter_is_registered_for_the_span_of_its_readings(
    data: DataDir, tmp_path: Path
) -> None:
    lines = [*minutes(5, "m2")[3:], *minutes(5, "m1"), *minutes(2, "m2")]
    summary = run(data, csv(tmp_path, *lines))

    entries = read_registry(data.registry).to_pylist()
    assert [(e["meter_id"], e["valid_from"], e["valid_to"]) for e in entries] == [
        ("m1", START, START + timedelta(minutes=5)),
        ("m2", START, START + timedelta(minutes=5)),
    ]
    assert summary.meters_added == 2


def test_ragged_rows_and_foreign_encodings_are_refused_and_their_neighbours_stored(
    data: DataDir, tmp_path: Path
) -> None:
    good = minutes(3)
    path = tmp_path / "file.csv"
    lines = [HEADER, good[0], "2026-03-01T00:09:00Z,m1,230", "", good[1], good[2] + ",extra"]
    latin = "2026-03-01T00:30:00Z,m1,2°,1,1".encode("latin-1")
    path.write_bytes("\n".join(lines).encode() + b"\n" + latin + b"\n")
    summary = run(data, path)
    assert (summary.rows, summary.stored) == (5, 2)
    assert summary.refused == {"not_a_reading": 2, "wrong_type": 1}
    found = {line["source_row"]: line for line in dead_letters(data)}
    assert set(found) == {2, 4, 5}
    assert "3 cells where the header has 5" in found[2]["payload"]
    assert "6 cells where the header has 5" in found[4]["payload"]
    assert found[5]["field"] == "voltage_v"
    assert r"2\\xb0" in found[5]["payload"]
