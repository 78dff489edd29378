"""The way to the cloud loses, doubles, delays and damages as configured, and says so exactly."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
from simulator_helpers import FAULTY, START, FakeTime, readings, rows, run

from ami_contract.errors import SettingsError, TransportError
from ami_contract.reading import Attribute, ContentType
from simulator.backhaul import message_delays, reading_faults
from simulator.config import NETWORK_LATENCY_MS, parse_config
from simulator.fleet import build_fleet
from simulator.meters import PoleMeters
from simulator.publisher import CollectingPublisher, PublisherCounters, reading_lines
from simulator.run import simulate
from simulator.streams import Stream
from simulator.truth import LOW_RUN_COLUMNS, PoleTruth


def test_fault_rates_match_their_probabilities() -> None:
    summary, _ = run({**FAULTY, "fleet": {"poles": 10, "meters_per_pole": 10}}, 10)
    assert summary.generated == 60_000
    for count, probability in (
        (summary.dropped, 0.02),
        (summary.duplicated, 0.03),
        (summary.reordered, 0.04),
        (summary.malformed, 0.01),
    ):
        sigma = math.sqrt(60_000 * probability * (1 - probability))
        assert abs(count - 60_000 * probability) < 4 * sigma
    assert summary.published == summary.generated - summary.dropped + summary.duplicated


@pytest.mark.parametrize("mode", ["single", "batch"])
def test_truth_matches_what_was_published(mode: str, tmp_path: Path) -> None:
    raw = {**FAULTY, "publish_mode": mode}
    summary, publisher = run(raw, 10, truth_dir=tmp_path)
    assert summary.truth is not None
    meters = rows(summary.truth, "meters.csv")
    faults = rows(summary.truth, "faults.csv")
    arrived = Counter(
        (r["meter_id"], r["seq"]) for r in readings(publisher) if r["seq"] == int(r["seq"])
    )
    by_fault = {
        kind: {(f["meter_id"], int(f["seq"])) for f in faults if f["fault"] == kind}
        for kind in ("dropped", "duplicated", "reordered", "malformed")
    }
    generated = {
        (m["meter_id"], seq)
        for m in meters
        for seq in range(int(m["first_seq"]), int(m["last_seq"]) + 1)
    }
    assert len(generated) == summary.generated == sum(int(m["generated"]) for m in meters)
    for key in generated:
        if key in by_fault["malformed"]:
            assert arrived[key] <= 1
        elif key in by_fault["dropped"]:
            assert arrived[key] == 0
        else:
            assert arrived[key] == (2 if key in by_fault["duplicated"] else 1)
    assert set(arrived) <= generated
    copies = sum(message.readings for message in publisher.messages)
    assert copies == summary.published
    for kind, keys in by_fault.items():
        assert len(keys) == getattr(summary, kind) == sum(int(m[kind]) for m in meters)
    totals = orjson.loads((summary.truth / "run.json").read_bytes())["totals"]
    assert totals["copies"] == copies


def test_low_runs_of_the_truth_are_those_in_the_readings(tmp_path: Path) -> None:
    raw = {**FAULTY, "drop_prob": 0, "bad_payload_prob": 0}
    raw |= {"voltage_sag_prob": 1.0, "voltage_sag_duration_s": [1, 8]}
    summary, publisher = run(raw, 30, truth_dir=tmp_path)
    volts = {(r["meter_id"], r["seq"]): r["voltage_v"] for r in readings(publisher)}
    expected = []
    for meter in sorted({m for m, _ in volts}):
        seqs = sorted(s for m, s in volts if m == meter and volts[m, s] < 220)
        start = 0
        for i, seq in enumerate(seqs):
            if i + 1 == len(seqs) or seqs[i + 1] != seq + 1:
                chain = seqs[start : i + 1]
                low = min(volts[meter, s] for s in chain)
                expected.append((meter, chain[0], chain[-1], float(len(chain)), low))
                start = i + 1
    assert summary.truth is not None
    found = rows(summary.truth, "low_runs.csv")
    assert [
        (
            r["meter_id"],
            int(r["first_seq"]),
            int(r["last_seq"]),
            float(r["duration_s"]),
            float(r["min_voltage_v"]),
        )
        for r in sorted(found, key=lambda r: (r["meter_id"], int(r["first_seq"])))
    ] == expected
    assert len(expected) >= 3 * 15
    assert {r["is_event"] for r in found} == {"true", "false"}
    assert all((r["is_event"] == "true") == (float(r["duration_s"]) >= 5) for r in found)


def test_same_truth_whatever_the_speed(tmp_path: Path) -> None:
    time = FakeTime(5e8)
    one, _ = run(FAULTY, 4, truth_dir=tmp_path / "a")
    two, _ = run(
        FAULTY, 4, truth_dir=tmp_path / "b", speed=20.0, clock=time.clock, sleep=time.sleep
    )
    assert one.truth is not None
    assert two.truth is not None
    names = sorted(path.name for path in one.truth.iterdir())
    assert names == sorted(path.name for path in two.truth.iterdir())
    for name in names:
        assert (one.truth / name).read_bytes() == (two.truth / name).read_bytes(), name


def test_messages_come_in_the_order_of_the_schedule_with_the_profile_latency() -> None:
    _, publisher = run({**FAULTY, "network_profile": ["wired", "sat", "lte_m"]}, 10)
    due = [m.due_us for m in publisher.messages]
    assert due == sorted(due)
    for profile in ("wired", "sat", "lte_m"):
        low, high = NETWORK_LATENCY_MS[profile]
        delays = [
            (m.due_us / 1000) % 5000
            for m in publisher.messages
            if m.attributes[Attribute.NETWORK_PROFILE] == profile
        ]
        # closed every 5 s, then latency, then 0 to 20 ms of jitter
        assert min(delays) >= low
        assert max(delays) <= high + 20
        assert sorted(delays)[len(delays) // 2] == pytest.approx((low + high) / 2 + 10, rel=0.15)


def test_attributes_say_where_a_message_comes_from() -> None:
    _, publisher = run(FAULTY, 2)
    message = publisher.messages[0]
    assert message.attributes[Attribute.SCHEMA_VERSION] == "1"
    assert message.attributes[Attribute.CONTENT_TYPE] == ContentType.JSON
    assert message.attributes[Attribute.GATEWAY_ID] == (
        "gw-" + message.attributes[Attribute.POLE_ID]
    )
    taken = datetime.fromisoformat(message.attributes[Attribute.GATEWAY_INGEST_TS])
    newest = max(orjson.loads(line)["event_ts"] for line in reading_lines(message))
    assert 0 < (taken - datetime.fromisoformat(newest)).total_seconds() <= 0.02
    ids = [m.attributes[Attribute.BATCH_ID] for m in publisher.messages]
    assert len(set(ids)) == len(ids)
    again, other = run(FAULTY, 2), run({**FAULTY, "seed": 9}, 2)
    assert ids == [m.attributes[Attribute.BATCH_ID] for m in again[1].messages]
    assert not set(ids) & {m.attributes[Attribute.BATCH_ID] for m in other[1].messages}


@pytest.mark.parametrize("payload", ["json", "ndjson"])
def test_damage_leaves_the_rest_of_a_batch_readable(payload: str) -> None:
    raw = {**FAULTY, "bad_payload_prob": 0.1, "payload": payload}
    summary, publisher = run(raw, 5)
    undecodable = 0
    for message in publisher.messages:
        for line in reading_lines(message):
            try:
                orjson.loads(line)
            except orjson.JSONDecodeError:
                undecodable += 1
                assert message.readings == 1
                assert Attribute.METER_ID in message.attributes
    assert 0 < undecodable < summary.malformed / 4


def test_damaged_arrow_reading_is_out_of_range() -> None:
    summary, publisher = run({**FAULTY, "payload": "arrow", "bad_payload_prob": 0.05}, 2)
    impossible = sum(r["voltage_v"] == 5000 for r in readings(publisher))
    assert impossible == summary.malformed > 0


def test_batches_hold_no_more_than_the_limit() -> None:
    _, publisher = run({**FAULTY, "batch_interval_s": 60, "batch_max_readings": 50}, 3)
    assert max(m.readings for m in publisher.messages) == 50


def test_silent_meter_counts_as_dropped(tmp_path: Path) -> None:
    silence = {"meter_id": "p-m001", "start": "2026-03-01T12:01:00Z", "duration_s": 60}
    raw = {"pole_id": "p", "num_meters": 2, "voltage_sag_prob": 0, "silences": [silence]}
    summary, publisher = run(raw, 3, truth_dir=tmp_path)
    assert summary.dropped == 60
    counts = Counter(r["meter_id"] for r in readings(publisher))
    assert counts == {"p-m001": 120, "p-m002": 180}


def test_truth_of_a_demand_response_event_is_the_missing_energy(tmp_path: Path) -> None:
    raw = {
        "pole_id": "p",
        "num_meters": 8,
        "voltage_sag_prob": 0,
        "load_profile": {"base_kw": 3.0},
    }
    event = {
        "event_id": "e1",
        "start": "2026-03-01T12:05:00Z",
        "duration_s": 300,
        "participation": 1.0,
        "shed_share": 0.4,
        "rebound_share": 0.2,
        "rebound_s": 300,
    }
    _, without = run(raw, 20)
    summary, with_event = run({**raw, "dr_events": [event]}, 20, truth_dir=tmp_path)

    def kwh(publisher: CollectingPublisher, meter: str) -> float:
        return sum(r["power_kw"] for r in readings(publisher) if r["meter_id"] == meter) / 3600

    assert summary.truth is not None
    for row in rows(summary.truth, "dr_events.csv"):
        saved = kwh(without, row["meter_id"]) - kwh(with_event, row["meter_id"])
        # 1 % of white noise multiplies the load after the shed
        assert float(row["shed_kwh"]) == pytest.approx(saved, rel=0.01)
        assert saved > 0


def test_stop_ends_a_live_run_and_the_truth_describes_what_went_out(tmp_path: Path) -> None:
    time, stop = FakeTime(START.timestamp()), threading.Event()

    def sleep(duration_s: float) -> None:
        time.sleep(duration_s)
        if time.now_s > START.timestamp() + 62.5:
            stop.set()

    publisher = CollectingPublisher()
    summary = simulate(
        parse_config(FAULTY),
        start=START,
        end=None,
        speed=1.0,
        publisher=publisher,
        truth_dir=tmp_path,
        stop=stop,
        clock=time.clock,
        sleep=sleep,
    )
    assert summary.stopped_early
    assert summary.generated == 12 * 63
    assert sum(m.readings for m in publisher.messages) == summary.published
    assert summary.published == summary.generated - summary.dropped + summary.duplicated
    assert summary.truth is not None
    meters = rows(summary.truth, "meters.csv")
    assert {m["last_event_ts"] for m in meters} == {"2026-03-01T12:01:02.000Z"}
    sent = {(r["meter_id"], r["event_ts"]) for r in readings(publisher)}
    assert max(ts for _, ts in sent) <= "2026-03-01T12:01:02.000Z"


def test_live_run_sends_no_reading_before_its_time() -> None:
    time, stop = FakeTime(START.timestamp() - 3), threading.Event()
    early: list[float] = []

    class Watching(CollectingPublisher):
        def publish(self, message):  # type: ignore[no-untyped-def]
            if stop.is_set():
                return super().publish(message)
            for line in reading_lines(message):
                taken = datetime.fromisoformat(orjson.loads(line)["event_ts"]).timestamp()
                early.append(taken - time.now_s)
            return super().publish(message)

    def sleep(duration_s: float) -> None:
        time.sleep(duration_s)
        if time.now_s > START.timestamp() + 20:
            stop.set()

    raw = {"pole_id": "p", "publish_mode": "single", "voltage_sag_prob": 0}
    simulate(
        parse_config(raw),
        start=START - timedelta(seconds=60),
        end=None,
        speed=None,
        publisher=Watching(),
        stop=stop,
        clock=time.clock,
        sleep=sleep,
    )
    assert len(early) > 5 * 75
    assert max(early) <= 0
    # The last 15 s went out live: a latency of 50 ms at most, and one tick of the pacing loop.
    assert min(early[-5 * 15 :]) > -0.06


def test_stop_at_full_speed_keeps_truth_and_messages_equal(tmp_path: Path) -> None:
    stop = threading.Event()
    publisher = CollectingPublisher()

    class Stopping(CollectingPublisher):
        def publish(self, message):  # type: ignore[no-untyped-def]
            if len(publisher.messages) == 50:
                stop.set()
            return publisher.publish(message)

    summary = simulate(
        parse_config(FAULTY),
        start=START,
        end=datetime(2026, 3, 2, tzinfo=UTC),
        speed=None,
        publisher=Stopping(),
        truth_dir=tmp_path,
        stop=stop,
    )
    assert summary.stopped_early
    assert sum(m.readings for m in publisher.messages) == summary.published
    assert summary.published == summary.generated - summary.dropped + summary.duplicated
    assert summary.generated == 12 * (summary.end - summary.start).total_seconds()


def test_truth_is_written_even_when_publishing_fails(tmp_path: Path) -> None:
    class Failing(CollectingPublisher):
        def flush(self) -> None:
            raise TransportError("the other side is gone")

        def counters(self) -> PublisherCounters:
            return PublisherCounters(failed=1)

    with pytest.raises(TransportError, match="gone"):
        simulate(
            parse_config(FAULTY),
            start=START,
            end=datetime(2026, 3, 1, 12, 1, tzinfo=UTC),
            speed=None,
            publisher=Failing(),
            truth_dir=tmp_path,
        )
    (folder,) = tmp_path.iterdir()
    assert orjson.loads((folder / "run.json").read_bytes())["complete"] is False


def test_window_that_makes_no_sense_is_refused_before_anything_is_sent() -> None:
    publisher = CollectingPublisher()
    for start, end, speed, text in (
        (START, START, None, "later than start"),
        (datetime(2020, 1, 1, tzinfo=UTC), START, None, "not before seq_origin"),
        (START.replace(tzinfo=None), START, None, "a time with a zone"),
        (START, None, 0.0, "a positive number"),
    ):
        with pytest.raises(SettingsError, match=text):
            simulate(parse_config({}), start=start, end=end, speed=speed, publisher=publisher)
    assert publisher.messages == []


def test_reordered_reading_comes_one_to_max_batches_later_and_nothing_else_does() -> None:
    raw = {
        "pole_id": "p",
        "num_meters": 5,
        "reorder_prob": 0.1,
        "reorder_max_batches": 3,
        "batch_interval_s": 5,
        "voltage_sag_prob": 0,
    }
    summary, publisher = run(raw, 10)
    late = Counter()
    end_ms = START.timestamp() * 1000 + 600_000
    for message in publisher.messages:
        closed_ms = message.due_us / 1000 // 5000 * 5000
        if closed_ms == end_ms:
            continue  # at the end of a run all that is held comes at once
        for line in reading_lines(message):
            taken = datetime.fromisoformat(orjson.loads(line)["event_ts"])
            late[(closed_ms - 5000 - taken.timestamp() * 1000 // 5000 * 5000) / 5000] += 1
    assert set(late) == {0, 1, 2, 3}
    assert late[1] + late[2] + late[3] == pytest.approx(summary.reordered, abs=20)
    assert max(late[1], late[2], late[3]) < 1.5 * min(late[1], late[2], late[3])


def test_low_runs_end_at_the_first_normal_sample_and_at_the_edges_of_the_run() -> None:
    config = parse_config({"pole_id": "p", "num_meters": 2, "voltage_sag_prob": 0})
    meters = PoleMeters(config, build_fleet(config).poles[0])
    samples = meters.samples(1000, 1020)
    assert samples is not None
    low = {(0, 1010), (0, 1011), (0, 1013), (1, 1000), *((1, t) for t in range(1014, 1020))}
    is_low = np.array([pair in low for pair in zip(samples.meter, samples.tick, strict=True)])
    samples = replace(
        samples,
        voltage_v=np.where(is_low, 200.0, samples.voltage_v),
        kind=is_low.astype(np.uint8) * np.uint8(2),
    )
    truth = PoleTruth(config, meters)
    truth.add(samples.take(samples.tick < 1012), 1000, 1012)
    truth.add(samples.take(samples.tick >= 1012), 1012, 1020)
    found = [dict(zip(LOW_RUN_COLUMNS, row, strict=True)) for row in truth.low_run_rows()]
    names = ("meter_id", "first_seq", "last_seq", "is_event", "cut_start", "cut_end")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("p-m001", 1010, 1011, "false", "false", "false"),
        ("p-m001", 1013, 1013, "false", "false", "false"),
        ("p-m002", 1000, 1000, "false", "true", "false"),
        ("p-m002", 1014, 1019, "true", "false", "true"),
    ]


def test_backhaul_of_a_seed_is_pinned() -> None:
    raw = {"drop_prob": 0.02, "duplicate_prob": 0.03, "reorder_prob": 0.04, "bad_payload_prob": 0.1}
    config = parse_config(raw)
    streams = [Stream(3, "meter", f"m{number}") for number in range(7)]
    digest = hashlib.sha256()
    for block in range(5):
        faults = reading_faults(config, streams, block, 300)
        assert faults is not None
        digest.update(faults.fault.tobytes() + faults.detail.tobytes())
    for profile in NETWORK_LATENCY_MS:
        delays = message_delays(config, profile, streams[0], 9, 100)
        digest.update(delays.intake_ms.tobytes() + np.round(delays.backhaul_ms, 6).tobytes())
    assert digest.hexdigest() == (
        "f00533b0fd349ed58ab95707a77977030f6ec7a0fcfa8052d3ca35dca3628b2b"
    )
