"""How rows are printed for people and programs."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime

import pytest

from ami_cli.query import check_format, print_rows
from ami_contract.errors import SettingsError

COLUMNS = ["meter_id", "seen", "day", "kw", "flags", "nothing"]
ROW = ("m1", datetime(2026, 3, 1, 14, tzinfo=UTC), date(2026, 3, 1), 1.25, ["tamper"], None)


def test_json_holds_one_object_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(COLUMNS, [ROW], "json")
    assert json.loads(capsys.readouterr().out) == [
        {
            "meter_id": "m1",
            "seen": "2026-03-01T14:00:00Z",
            "day": "2026-03-01",
            "kw": 1.25,
            "flags": ["tamper"],
            "nothing": None,
        }
    ]


def test_json_keeps_every_column_of_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(["x", "x", "x_1", "x"], [(1, 2, 3, 4)], "json")
    assert json.loads(capsys.readouterr().out) == [{"x": 1, "x_2": 2, "x_1": 3, "x_3": 4}]


def test_csv_quotes_and_spells_times_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(COLUMNS, [ROW], "csv")
    [header, row] = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == COLUMNS
    assert row == ["m1", "2026-03-01T14:00:00Z", "2026-03-01", "1.25", '["tamper"]', ""]


def test_a_table_aligns_numbers_right_and_counts_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(["id", "n"], [("a", 5), ("bcd", 120)], "table")
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["id     n", "---  ---", "a      5", "bcd  120"]
    assert captured.err == "(2 rows)\n"


def test_not_a_number_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(["x"], [(float("nan"),)], "json")
    assert json.loads(capsys.readouterr().out) == [{"x": None}]


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="--format 'xml': one of table, csv, json"):
        check_format("xml")
