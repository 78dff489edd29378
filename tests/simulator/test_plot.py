"""A day of a pole as a picture: its numbers are those of the readings."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from simulator_helpers import FAULTY, START, readings, run

from ami_contract.errors import SettingsError
from simulator.config import parse_config
from simulator.plot import DayView, check_target, day_before, day_view, write_plot

RAW = {**FAULTY, "drop_prob": 0, "reorder_prob": 0, "duplicate_prob": 0, "bad_payload_prob": 0}


def view(minutes: int = 20) -> DayView:
    return day_view(parse_config(RAW), START, START + timedelta(minutes=minutes))


def test_slots_hold_the_power_and_voltage_of_the_readings() -> None:
    _, publisher = run(RAW, 20)
    mine = [r for r in readings(publisher) if r["pole_id"] == "pole-0001"]
    found = view()
    assert (found.pole_id, found.meters, len(found.power_kw)) == ("pole-0001", 4, 20)
    for minute in (0, 7, 19):
        slot = [r for r in mine if r["event_ts"].startswith(f"2026-03-01T12:{minute:02d}:")]
        assert len(slot) == 240
        assert found.power_kw[minute] == pytest.approx(sum(r["power_kw"] for r in slot) / 60)
        volts = [r["voltage_v"] for r in slot]
        assert (found.low_v[minute], found.high_v[minute]) == (min(volts), max(volts))
        assert found.mean_v[minute] == pytest.approx(sum(volts) / 240)


def test_events_are_the_low_runs() -> None:
    found = view()
    # a forced sag in each of ten slots of 120 s, at least
    assert len(found.events) >= 10
    assert found.events == sorted(found.events, key=lambda event: event.start)
    assert {event.kind for event in found.events} == {"sag"}
    assert all(0.1 <= event.depth_pu <= 0.45 for event in found.events)


def test_an_outage_leaves_a_hole_in_the_voltage() -> None:
    outage = {"subject": "pole-0001", "start": "2026-03-01T12:05:00Z", "duration_s": 300}
    config = parse_config({**RAW, "outages": [outage]})
    found = day_view(config, START, START + timedelta(minutes=20))
    assert np.flatnonzero(np.isnan(found.mean_v)).tolist() == [6, 7, 8, 9]
    assert found.power_kw[6:10].tolist() == [0, 0, 0, 0]


def test_the_day_before_is_a_local_day() -> None:
    start, end = day_before(datetime(2026, 3, 9, 6, tzinfo=UTC), "America/Los_Angeles")
    # 23:00 on Sunday the 8th, when clocks went forward: the 7th has 24 hours
    assert start.astimezone(UTC) == datetime(2026, 3, 7, 8, tzinfo=UTC)
    assert end.astimezone(UTC) == datetime(2026, 3, 8, 8, tzinfo=UTC)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SettingsError, match=r"not installed; run .*'\.\[plot\]'"):
        check_target(Path("x.png"))


@pytest.mark.parametrize(
    ("name", "head"), [("a.png", b"\x89PNG"), ("a.html", b"<!doctype html>"), ("a.svg", b"<?xml")]
)
def test_the_same_day_gives_the_same_file(tmp_path: Path, name: str, head: bytes) -> None:
    pytest.importorskip("matplotlib", exc_type=ImportError)
    write_plot(view(), tmp_path / name)
    first = (tmp_path / name).read_bytes()
    assert first.startswith(head)
    write_plot(view(), tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


def test_the_page_stands_alone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", exc_type=ImportError)
    write_plot(view(), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert "<title>Pole pole-0001</title>" in text
    assert "<svg" in text
    assert 'href="http' not in text.replace("http://www.w3.org", "")
    assert "<script" not in text
