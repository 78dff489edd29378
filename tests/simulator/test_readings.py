"""Readings follow from configuration, seed and time alone, and obey physics within rounding."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from datetime import timedelta

import numpy as np
import pytest
from simulator_helpers import FAULTY, START, FakeTime, readings, run, stdout_bytes

from ami_contract.reading import READING_FIELDS, WIRE_SCHEMA
from simulator.config import parse_config
from simulator.encode import decode_arrow
from simulator.fleet import build_fleet
from simulator.meters import PoleMeters, arrow_batch

CLEAN = {"pole_id": "p", "num_meters": 10, "voltage_sag_prob": 0}


def columns(raw: dict, first: int, end: int) -> dict[str, list]:
    config = parse_config(raw)
    pole = build_fleet(config).poles[0]
    samples = PoleMeters(config, pole).samples(first, end)
    assert samples is not None
    return arrow_batch(samples, pole).to_pydict()


def test_ten_meters_at_one_hertz_for_ten_minutes_make_6000_readings() -> None:
    summary, publisher = run(CLEAN, 10)
    found = readings(publisher)
    assert summary.generated == summary.published == len(found) == 6000
    assert len({(r["meter_id"], r["seq"]) for r in found}) == 6000
    assert {r["event_ts"] for r in found} == {
        f"2026-03-01T12:{m:02d}:{s:02d}.000Z" for m in range(10) for s in range(60)
    }


@pytest.mark.parametrize("mode", ["single", "batch"])
def test_same_bytes_at_every_speed(mode: str) -> None:
    raw = {**FAULTY, "publish_mode": mode}
    fastest = stdout_bytes(raw, 3)
    time = FakeTime(1e9)
    paced = stdout_bytes(raw, 3, speed=7.0, clock=time.clock, sleep=time.sleep)
    assert fastest == paced
    assert time.now_s - 1e9 == pytest.approx(180 / 7, rel=0.1)
    assert fastest != stdout_bytes({**raw, "seed": 4}, 3)


def test_readings_do_not_depend_on_how_time_is_cut() -> None:
    raw = {**FAULTY, "load_profile": {"ev_share": 0.5, "pv_share": 0.5, "spikes_per_hour": 20}}
    first = 5_000_000
    config = parse_config(raw)
    pole = build_fleet(config).poles[0]
    whole = PoleMeters(config, pole).samples(first, first + 1500)
    cut = PoleMeters(config, pole)
    edges = [first, first + 1, first + 77, first + 400, first + 401, first + 1100, first + 1500]
    parts = [cut.samples(a, b) for a, b in itertools.pairwise(edges)]
    assert whole is not None
    for name in whole.__dataclass_fields__:
        joined = np.concatenate([getattr(p, name) for p in parts])
        np.testing.assert_array_equal(getattr(whole, name), joined, err_msg=name)


def test_batch_interval_changes_messages_but_not_readings() -> None:
    def as_set(interval_s: float) -> set[bytes]:
        raw = {**CLEAN, "batch_interval_s": interval_s}
        return set(stdout_bytes(raw, 2).splitlines())

    assert as_set(1) == as_set(7) == as_set(60)


def test_two_runs_make_one_continuous_counter() -> None:
    _, first = run(CLEAN, 2)
    _, second = run(CLEAN, 2, start=START + timedelta(minutes=2))
    _, both = run(CLEAN, 4)
    key = ("meter_id", "seq")
    joined = readings(first) + readings(second)
    assert sorted(joined, key=lambda r: [r[k] for k in key]) == sorted(
        readings(both), key=lambda r: [r[k] for k in key]
    )
    seqs = sorted(r["seq"] for r in joined if r["meter_id"] == "p-m001")
    assert seqs == list(range(seqs[0], seqs[0] + 240))
    # 59 days and 12 hours after 2026-01-01T00:00:00Z at one sample a second
    assert seqs[0] == (59 * 24 + 12) * 3600


@pytest.mark.parametrize("nominal", [120, 230, 240])
def test_power_identities_hold_and_only_injected_sags_are_low(nominal: int) -> None:
    raw = {
        "fleet": {"poles": 1, "meters_per_pole": 20},
        "voltage_nominal": nominal,
        "voltage_sag_prob": 0,
        "load_profile": {"base_kw": 2.0, "spikes_per_hour": 10},
    }
    data = columns(raw, 5_000_000, 5_000_000 + 7200)
    volts = np.array(data["voltage_v"])
    assert volts.min() > 0.93 * nominal > nominal * 220 / 240
    assert volts.max() < 1.1 * nominal
    power, reactive = np.array(data["power_kw"]), np.array(data["reactive_kvar"])
    apparent = volts * np.array(data["current_a"]) / 1000
    # Rounding: half a milliampere of current, half a unit of the fourth digit of P and Q.
    np.testing.assert_allclose(np.hypot(power, reactive), apparent, atol=0.0005 * 0.28 + 0.0001)
    factor = power / np.hypot(power, reactive)
    assert factor.min() > 0.949
    assert factor.max() < 0.991
    assert abs(np.array(data["freq_hz"]) - (50 if nominal == 230 else 60)).max() < 0.1


def test_frequency_is_common_to_a_feeder() -> None:
    raw = {"fleet": {"feeders": 2, "poles": 4, "meters_per_pole": 2}, "voltage_sag_prob": 0}
    _, publisher = run(raw, 1)
    seen = defaultdict(set)
    for r in readings(publisher):
        feeder = 1 if r["pole_id"] in ("pole-0001", "pole-0002") else 2
        seen[feeder, r["event_ts"]].add(r["freq_hz"])
    assert all(len(values) == 1 for values in seen.values())
    assert any(seen[1, ts] != seen[2, ts] for _, ts in list(seen))


def test_energy_of_a_day_follows_the_load_curve() -> None:
    raw = {
        "fleet": {"poles": 1, "meters_per_pole": 400},
        "sample_hz": "1/300",
        "voltage_sag_prob": 0,
        "time_zone": "UTC",
        "load_profile": {"spikes_per_hour": 0, "season": [1] * 12},
    }
    # Monday 2026-03-02: 60 days after the origin
    data = columns(raw, 60 * 288, 61 * 288)
    per_meter_kwh = sum(data["power_kw"]) / 12 / 400
    curve = parse_config(raw).load_profile.weekday
    # Mean of the linear curve over a whole day is the mean of its knots; the log-normal meter
    # factor (σ 0.35) has a standard error of 1.8 % over 400 meters.
    assert per_meter_kwh == pytest.approx(sum(curve), rel=0.06)


def test_load_curve_follows_local_time_and_weekend() -> None:
    raw = {
        "fleet": {"poles": 1, "meters_per_pole": 100},
        "sample_hz": 1 / 900,
        "voltage_sag_prob": 0,
        "time_zone": "Asia/Kolkata",
        "load_profile": {
            "weekday": [0] * 18 + [5] + [0] * 5,
            "weekend": [0] * 9 + [5] + [0] * 14,
            "spikes_per_hour": 0,
        },
    }
    # Monday 2026-03-02 18:00 in Kolkata is 12:30 UTC; Sunday the first 09:00 is 03:30 UTC.
    for day, hour_utc in ((60, 12.5), (59, 3.5)):
        data = columns(raw, day * 96, (day + 1) * 96)
        mean_kw = np.array(data["power_kw"]).reshape(96, 100).mean(axis=1)
        assert int(mean_kw.argmax()) / 4 == hour_utc


def test_export_shows_as_negative_power_and_lifts_voltage() -> None:
    raw = {
        "fleet": {"poles": 1, "meters_per_pole": 10},
        "sample_hz": 1 / 60,
        "voltage_sag_prob": 0,
        "time_zone": "UTC",
        "load_profile": {"pv_share": 1.0, "spikes_per_hour": 0},
    }
    data = columns(raw, 172 * 1440, 173 * 1440)
    power = np.array(data["power_kw"]).reshape(1440, 10)
    volts = np.array(data["voltage_v"]).reshape(1440, 10)
    assert power[720].mean() < -1
    assert power[30].min() > 0
    assert volts[690:750].mean() > volts[:60].mean()


def test_forced_sag_appears_once_in_every_slot_of_every_pole() -> None:
    raw = {
        "fleet": {"poles": 2, "meters_per_pole": 3},
        "voltage_sag_prob": 0,
        "force_sag_every_s": 120,
    }
    _, publisher = run(raw, 20)
    low: dict[tuple[str, int], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for r in readings(publisher):
        if r["voltage_v"] < 220:
            second = r["seq"] - (59 * 24 + 12) * 3600
            low[r["pole_id"], second // 120][r["meter_id"]].add(second)
    assert sorted(low) == [(p, s) for p in ("pole-0001", "pole-0002") for s in range(10)]
    for meters in low.values():
        (seconds,) = meters.values()
        assert max(seconds) - min(seconds) + 1 == len(seconds) >= 5


def test_forced_sag_at_900_s_is_one_sample() -> None:
    raw = {
        "pole_id": "p",
        "num_meters": 2,
        "sample_hz": "1/900",
        "voltage_sag_prob": 0,
        "force_sag_every_s": 3600,
    }
    data = columns(raw, 0, 96)
    low = [s for s, v in zip(data["seq"], data["voltage_v"], strict=True) if v < 220]
    assert Counter(s // 4 for s in low) == dict.fromkeys(range(24), 1)


def test_sag_rate_depth_and_duration_follow_the_config() -> None:
    raw = {
        "fleet": {"poles": 40, "meters_per_pole": 5},
        "voltage_sag_prob": 0.5,
        "sag_scope_shares": {"meter": 1.0},
        "voltage_sag_depth": [0.2, 0.4],
        "voltage_sag_duration_s": [10, 20],
    }
    config = parse_config(raw)
    lengths, depths = [], []
    for pole in build_fleet(config).poles:
        samples = PoleMeters(config, pole).samples(5_000_400, 5_000_400 + 7200)
        assert samples is not None
        low = samples.voltage_v < 220
        np.testing.assert_array_equal(low, samples.kind > 0)
        for meter in range(5):
            mine = samples.take(samples.meter == meter)
            edges = np.flatnonzero(np.diff(np.r_[0, (mine.kind > 0).astype(int), 0]))
            for a, b in edges.reshape(-1, 2).tolist():
                lengths.append(b - a)
                depths.append(1 - mine.voltage_v[a] / 240)
    # 200 meters, 2 hours, 0.5 per hour: 200 ± 4σ of a binomial
    assert abs(len(lengths) - 200) < 4 * math.sqrt(400 * 0.5 * 0.5) + 2
    assert np.mean(lengths) == pytest.approx(15, abs=1)
    assert np.mean(depths) == pytest.approx(0.3, abs=0.02)
    assert min(depths) > 0.19
    assert max(depths) < 0.41


def test_feeder_sag_is_seen_by_all_its_poles_and_no_other() -> None:
    raw = {
        "fleet": {"feeders": 2, "poles": 4, "meters_per_pole": 2},
        "voltage_sag_prob": 1.0,
        "sag_scope_shares": {"feeder": 1.0},
        "voltage_sag_duration_s": [30, 40],
    }
    _, publisher = run(raw, 60)
    low = defaultdict(set)
    for r in readings(publisher):
        if r["voltage_v"] < 220:
            low[r["meter_id"]].add(r["seq"])
    groups = Counter(frozenset(seqs) for seqs in low.values())
    assert sorted(groups.values()) == [4, 4]


def test_every_payload_form_holds_equal_readings() -> None:
    found = {}
    for payload in ("json", "ndjson", "arrow"):
        _, publisher = run({**CLEAN, "payload": payload}, 1)
        found[payload] = readings(publisher)
    assert found["json"] == found["ndjson"] == found["arrow"]
    assert list(found["json"][0]) == [f.name for f in READING_FIELDS if f.name != "quality_flags"]


def test_arrow_payload_has_the_wire_schema() -> None:
    _, publisher = run({**CLEAN, "payload": "arrow"}, 1)
    table = decode_arrow(publisher.messages[0].data)
    assert table.schema.equals(WIRE_SCHEMA)
    table.validate(full=True)


def test_outage_ends_with_a_gasp_and_seq_stands_still() -> None:
    outage = {"subject": "p-m002", "start": "2026-03-01T12:01:00Z", "duration_s": 30}
    _, publisher = run({**CLEAN, "outages": [outage]}, 3)
    mine = sorted(
        (r for r in readings(publisher) if r["meter_id"] == "p-m002"), key=lambda r: r["event_ts"]
    )
    assert [r["seq"] for r in mine] == list(range(mine[0]["seq"], mine[0]["seq"] + 151))
    gasp, back = mine[60], mine[61]
    assert (gasp["event_ts"][11:19], gasp["quality_flags"]) == ("12:01:00", ["last_gasp"])
    assert gasp["voltage_v"] < 24
    assert (back["event_ts"][11:19], back["quality_flags"]) == ("12:01:30", ["power_restored"])
    assert back["voltage_v"] > 220
    other = [r for r in readings(publisher) if r["meter_id"] == "p-m001"]
    assert len(other) == 180


def test_replaced_meter_counts_from_zero_again() -> None:
    swap = {"meter_id": "p-m001", "at": "2026-03-01T12:01:00Z"}
    _, publisher = run({**CLEAN, "replacements": [swap]}, 2)
    mine = sorted(
        (r for r in readings(publisher) if r["meter_id"] == "p-m001"), key=lambda r: r["event_ts"]
    )
    assert [r["seq"] for r in mine[58:62]] == [mine[0]["seq"] + 58, mine[0]["seq"] + 59, 0, 1]


def test_drifting_clock_stays_within_half_a_day_of_drift() -> None:
    raw = {**CLEAN, "num_meters": 1, "clock_drift_ppm_range": [20, 20]}
    first = 59 * 86_400
    data = columns(raw, first, first + 86_400)
    seq = np.array(data["seq"])
    stamps = np.array([t.timestamp() for t in data["event_ts"]])
    error_s = stamps - (1_767_225_600 + seq)
    assert error_s.max() == pytest.approx(20e-6 * 43_200, abs=0.002)
    assert abs(error_s.min()) < 0.001
    assert (np.diff(stamps) > 0.99).all()
