"""The ledger: every reading is stored, dead-lettered or declared lost, meter by meter."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_helpers import (
    HOUR,
    NEXT_HOUR,
    build_warehouse,
    compact,
    land_rows,
    row,
    write_dead_letters,
)

from ami_contract.errors import LakeError, SettingsError
from ami_contract.lake import DataDir
from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.ledger import UNATTRIBUTED, Ledger, LedgerRow, Window, balance
from ami_store.registry import write_registry


def letter(
    identity: str,
    meter_id: str | None = None,
    seq: int | None = None,
    *,
    event_ts: datetime | None = None,
    field: str = "voltage_v",
    published: datetime = HOUR,
) -> dict[str, Any]:
    """A dead letter; its payload is a reading that names `event_ts`, else it is no JSON."""
    return {
        "dead_letter_id": identity,
        "meter_id": meter_id,
        "seq": seq,
        "code": "out_of_range",
        "field": field,
        "payload": json.dumps({"event_ts": event_ts.isoformat()}) if event_ts else "{not json",
        "publish_time": published.isoformat(),
    }


def rows_of(ledger: Ledger) -> dict[str, tuple[int | None, ...]]:
    """expected, stored, duplicates, dead_lettered, lost, not_sampled, declared_lost by meter."""
    return {
        r.meter_id: (
            r.expected,
            r.stored,
            r.duplicates,
            r.dead_lettered,
            r.lost,
            r.not_sampled,
            r.declared_lost,
        )
        for r in ledger.rows
    }


@pytest.fixture
def worked(data: DataDir) -> DataDir:
    """A hand-worked lake.

    m1 generated 1…10: 4 was refused, 7 is stored twice, the rest once. m2 generated 1…5: 4 was
    dropped by the backhaul. One payload of 2 readings of m2 (6 and 7) could not be read at all.
    """
    land_rows(data, "a", [row(seq) for seq in (1, 2, 3, 5, 6, 7, 8)])
    compact(data)
    land_rows(data, "b", [row(7), row(9), row(10)])
    land_rows(data, "c", [row(seq, meter="m2") for seq in (1, 2, 3, 5)])
    write_dead_letters(data, [letter("d1", "m1", 4), letter("d2")])
    return data


def stamp(seq: int) -> datetime:
    """event_ts of `row(seq)`."""
    return HOUR + timedelta(seconds=seq)


def write_truth(
    folder: Path,
    epochs: dict[tuple[str, int], tuple[int, int]],
    dropped: Sequence[tuple[str, int]] = (),
    *,
    run: str = "run-1",
    overflowed: Sequence[str] = (),
) -> Path:
    """Truth of a run: (meter, epoch) → first and last seq, and what the backhaul dropped."""
    path = folder / run
    path.mkdir(parents=True)

    def write(name: str, header: str, lines: Iterable[str]) -> None:
        (path / name).write_text("\n".join([header, *lines]) + "\n")

    write(
        "meters.csv",
        "meter_id,epoch,first_seq,last_seq,first_event_ts,last_event_ts",
        (
            f"{meter},{epoch},{first},{last},{stamp(first).isoformat()},{stamp(last).isoformat()}"
            for (meter, epoch), (first, last) in epochs.items()
        ),
    )
    write(
        "faults.csv",
        "meter_id,seq,event_ts,fault,epoch",
        (
            f"{meter},{seq},{stamp(seq).isoformat()},dropped,{epoch}"
            for meter, seq in dropped
            for (name, epoch), (first, last) in epochs.items()
            if name == meter and first <= seq <= last
        ),
    )
    write("overflow.csv", "meter_id,seq,event_ts", overflowed)
    return folder


def test_without_truth_a_hole_in_seq_is_lost_and_silence_is_not_sampled(worked: DataDir) -> None:
    ledger = balance(worked)

    assert rows_of(ledger) == {
        "m1": (10, 9, 1, 1, 0, 0, None),
        # In service from its first reading (second 1) up to the watermark (second 10).
        "m2": (9, 4, 0, 0, 1, 4, None),
        UNATTRIBUTED: (0, 0, 0, 1, -1, 0, None),
    }
    assert ledger.problems == []
    total = ledger.total
    assert (total.expected, total.stored, total.duplicates, total.dead_lettered) == (19, 13, 1, 2)
    assert (total.lost, total.not_sampled, total.declared_lost) == (0, 4, None)


def test_with_truth_the_hand_worked_lake_balances(worked: DataDir, tmp_path: Path) -> None:
    # The unreadable payload is one dead letter; the truth counts one malformed reading of m2.
    epochs = {("m1", 0): (1, 10), ("m2", 0): (1, 6)}
    truth = write_truth(tmp_path / "truth", epochs, [("m2", 4)])
    # What a writer that was killed left behind.
    write_truth(truth, epochs, run=".run-2.17")
    ledger = balance(worked, truth)

    assert rows_of(ledger) == {
        "m1": (10, 9, 1, 1, 0, 0, 0),
        "m2": (6, 4, 0, 0, 2, 0, 1),
        UNATTRIBUTED: (0, 0, 0, 1, -1, 0, None),
    }
    assert ledger.problems == []
    assert ledger.total.declared_lost == 1


def test_several_epochs_and_runs_of_a_meter_are_summed(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(
        tmp_path / "truth", {("m1", 0): (1, 4), ("m1", 1): (5, 6), ("m2", 0): (1, 6)}, [("m2", 4)]
    )
    write_truth(tmp_path / "truth", {("m1", 0): (7, 10)}, run="run-2")

    assert balance(worked, truth).problems == []


def test_more_than_was_generated_is_a_problem(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth", {("m1", 0): (1, 8), ("m2", 0): (1, 6)}, [("m2", 4)])
    problems = balance(worked, truth).problems

    assert problems[0] == "m1: 2 more than the 8 expected"


def test_a_meter_the_truth_does_not_know_is_balanced_by_its_span(
    worked: DataDir, tmp_path: Path
) -> None:
    truth = write_truth(tmp_path / "truth", {("m1", 0): (1, 10)})

    ledger = balance(worked, truth)

    assert ledger.problems == []
    [foreign] = [row for row in ledger.rows if row.meter_id == "m2"]
    assert foreign.stored == 4
    assert foreign.expected == foreign.stored + foreign.dead_lettered + foreign.lost + (
        foreign.not_sampled
    )
    assert foreign.declared_lost is None


def test_an_unexplained_hole_is_a_problem(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth", {("m1", 0): (1, 12), ("m2", 0): (1, 6)}, [("m2", 4)])

    assert "m1: 2 readings neither stored, dead-lettered nor declared lost" in (
        balance(worked, truth).problems
    )


def test_a_meter_that_never_arrived_is_a_problem(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(
        tmp_path / "truth", {("m1", 0): (1, 10), ("m2", 0): (1, 6), ("m3", 0): (1, 3)}, [("m2", 4)]
    )
    ledger = balance(worked, truth)

    assert rows_of(ledger)["m3"] == (3, 0, 0, 0, 3, 0, 0)
    assert any(problem.startswith("m3: 3 readings neither") for problem in ledger.problems)


def test_a_surplus_is_not_offset_by_a_hole_elsewhere(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth", {("m1", 0): (1, 8), ("m2", 0): (1, 8)}, [("m2", 4)])
    problems = balance(worked, truth).problems

    assert "m1: 2 more than the 8 expected" in problems


def test_a_loose_dead_letter_that_nobody_misses_is_a_problem(
    worked: DataDir, tmp_path: Path
) -> None:
    truth = write_truth(tmp_path / "truth", {("m1", 0): (1, 10), ("m2", 0): (1, 5)}, [("m2", 4)])

    assert balance(worked, truth).problems == ["1 unattributed dead letters that no meter misses"]


def test_a_redelivered_refusal_counts_once(worked: DataDir) -> None:
    write_dead_letters(worked, [letter("d1", "m1", 4), letter("d2")], segment="s2")

    assert rows_of(balance(worked))["m1"] == (10, 9, 1, 1, 0, 0, None)
    assert rows_of(balance(worked))[UNATTRIBUTED][3] == 1


def test_a_refused_copy_of_a_stored_reading_is_not_missed_twice(worked: DataDir) -> None:
    write_dead_letters(worked, [letter("d3", "m1", 5)], segment="s2")

    assert rows_of(balance(worked))["m1"] == (10, 9, 1, 1, 0, 0, None)


def test_a_meter_that_starts_its_counter_again_spans_two_epochs(data: DataDir) -> None:
    # 98 … 100, then from one: 1 … 3 of the next hour without 2. Unpowered from second 101 to 3601.
    old = [row(seq) for seq in (98, 99, 100)]
    new = [row(seq, hour=NEXT_HOUR) for seq in (1, 3)]
    land_rows(data, "a", old, hour=HOUR)
    land_rows(data, "b", new, hour=NEXT_HOUR)

    assert rows_of(balance(data))["m1"] == (3506, 5, 0, 0, 1, 3500, None)


def test_an_empty_lake_balances(data: DataDir) -> None:
    ledger = balance(data)

    assert rows_of(ledger) == {UNATTRIBUTED: (0, 0, 0, 0, 0, 0, None)}
    assert ledger.problems == []


def test_a_folder_without_truth_is_named(worked: DataDir, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="empty: no ground truth here"):
        balance(worked, tmp_path / "empty")


def test_the_ledger_reads_beside_an_open_warehouse(worked: DataDir) -> None:
    build_warehouse(worked)

    assert balance(worked).problems == []


def register(data: DataDir, *services: tuple[str, datetime, datetime | None]) -> None:
    """Registry of 1 Hz meters with their service."""
    rows = [
        {
            "meter_id": meter,
            "pole_id": "p1",
            "nominal_voltage_v": 240.0,
            "sample_interval_ms": 1000,
            "valid_from": start,
            "valid_to": end,
        }
        for meter, start, end in services
    ]
    write_registry(data.registry, pa.Table.from_pylist(rows, REGISTRY_SCHEMA))


def test_service_of_the_registry_is_expected_up_to_the_watermark(data: DataDir) -> None:
    """The lake spans seconds 10 … 99; T is 1 s.

    long: in service long before, so from the lake's hour on: 0 … 99, of which 10 … 19 are stored
    and the rest was never sampled. ended: until second 50, stored 40 … 49. early: stored 10 … 99
    although the registry begins at 90. dead: in service from 60 on, never seen.
    """
    land_rows(data, "a", [row(seq, meter="long") for seq in range(10, 20)])
    land_rows(data, "b", [row(seq, meter="ended") for seq in range(40, 50)])
    land_rows(data, "c", [row(seq, meter="early") for seq in range(10, 100)])
    register(
        data,
        ("long", HOUR - timedelta(days=9), None),
        ("ended", stamp(0), stamp(50)),
        ("early", stamp(90), None),
        ("dead", stamp(60), None),
    )

    assert rows_of(balance(data)) == {
        "dead": (39, 0, 0, 0, 0, 39, None),
        "early": (90, 90, 0, 0, 0, 0, None),
        "ended": (50, 10, 0, 0, 0, 40, None),
        "long": (99, 10, 0, 0, 0, 89, None),
        UNATTRIBUTED: (0, 0, 0, 0, 0, 0, None),
    }


def test_an_unpowered_meter_is_not_sampled_and_not_lost(data: DataDir) -> None:
    # seq 0 … 9, dark for 100 s, seq 10 … 19: the counter stood still.
    before = [row(seq) for seq in range(10)]
    after = [row(seq, event_ts=stamp(100 + seq)) for seq in range(10, 20)]
    land_rows(data, "a", [*before, *after])
    register(data, ("m1", stamp(0), None))

    assert rows_of(balance(data))["m1"] == (120, 20, 0, 0, 0, 100, None)


def test_a_window_holds_what_was_or_would_have_been_taken_in_it(data: DataDir) -> None:
    """Seconds 0 … 9 and 20 … 29 stored (24 twice); 10 … 19 missing, 12 of them refused."""
    land_rows(data, "a", [row(seq) for seq in [*range(10), *range(20, 30)]])
    land_rows(data, "b", [row(24)])
    # Its own event_ts is what was refused; the hole says when it was taken.
    bad_time = letter("d1", "m1", 12, event_ts=stamp(3000), field="event_ts")
    write_dead_letters(data, [bad_time])
    register(data, ("m1", stamp(0), None))

    def m1(start: int, end: int) -> tuple[int | None, ...]:
        return rows_of(balance(data, window=Window(stamp(start), stamp(end))))["m1"]

    assert m1(0, 10) == (10, 10, 0, 0, 0, 0, None)
    assert m1(5, 12) == (7, 5, 0, 0, 2, 0, None)
    assert m1(12, 13) == (1, 0, 0, 1, 0, 0, None)
    assert m1(13, 25) == (12, 5, 1, 0, 7, 0, None)
    assert m1(25, 99) == (5, 5, 0, 0, 0, 0, None), "up to the watermark"


def test_a_hole_ends_at_the_next_reading_however_far_seq_jumped(data: DataDir) -> None:
    # Ten seconds after second 0 the counter says a billion more.
    land_rows(data, "a", [row(0), row(1_000_000_000, event_ts=stamp(10))])
    register(data, ("m1", stamp(0), None))

    early = balance(data, window=Window(None, stamp(10)))
    late = balance(data, window=Window(stamp(10), stamp(11)))

    assert rows_of(early)["m1"] == (10, 1, 0, 0, 9, 0, None)
    assert rows_of(late)["m1"][1:5] == (1, 0, 0, 999_999_990)


def test_a_letter_without_any_moment_is_unattributed_in_windows_before_it_was_published(
    data: DataDir,
) -> None:
    land_rows(data, "a", [row(seq) for seq in range(10)])
    nowhere = letter("d1", "m1", 77, published=stamp(20))
    timed = letter("d2", "m1", 78, event_ts=stamp(5), published=stamp(20))
    write_dead_letters(data, [nowhere, timed])

    whole = rows_of(balance(data))
    assert whole["m1"] == (12, 10, 0, 2, 0, 0, None)
    assert whole[UNATTRIBUTED][3] == 0
    before = rows_of(balance(data, window=Window(stamp(4), stamp(6))))
    assert before["m1"] == (3, 2, 0, 1, 0, 0, None)
    assert before[UNATTRIBUTED][3] == 1
    then = rows_of(balance(data, window=Window(stamp(20), None)))
    assert then[UNATTRIBUTED][3] == 1
    after = rows_of(balance(data, window=Window(stamp(21), None)))
    assert after == {UNATTRIBUTED: (0, 0, 0, 0, 0, 0, None)}


def test_a_letter_without_seq_fills_a_hole_of_its_meter(data: DataDir) -> None:
    land_rows(data, "a", [row(seq) for seq in (0, 1, 3)])
    write_dead_letters(data, [letter("d1", "m1", None, event_ts=stamp(2))])
    assert rows_of(balance(data))["m1"] == (4, 3, 0, 1, 0, 0, None)

    write_dead_letters(data, [letter("d2", "m1", None, event_ts=stamp(4))], segment="s2")
    assert rows_of(balance(data))["m1"] == (5, 3, 0, 2, 0, 0, None)


def test_two_refused_copies_of_a_reading_count_once(worked: DataDir) -> None:
    write_dead_letters(worked, [letter("d3", "m1", 4)], segment="s2")

    assert rows_of(balance(worked))["m1"] == (10, 9, 1, 1, 0, 0, None)


def test_a_letter_whose_seq_is_in_two_epochs_belongs_to_the_nearer_one(data: DataDir) -> None:
    # seq 2 is stored in the old epoch and missing in the new one, an hour later.
    land_rows(data, "a", [row(seq) for seq in range(10)])
    land_rows(data, "b", [row(seq, hour=NEXT_HOUR) for seq in (0, 1, 3)], hour=NEXT_HOUR)
    write_dead_letters(data, [letter("d1", "m1", 2, event_ts=stamp(2))])
    assert rows_of(balance(data))["m1"][3:5] == (0, 1), "a copy of the stored one"

    late = letter("d2", "m1", 2, published=NEXT_HOUR + timedelta(seconds=9))
    write_dead_letters(data, [late], segment="s2")
    assert rows_of(balance(data))["m1"][3:5] == (1, 0)


def test_a_meter_may_repeat_a_seq_or_set_its_clock_back_without_a_new_epoch(data: DataDir) -> None:
    # The clock is set back by 2 s between 5 and 6; seq 3 comes again a quarter second later.
    rows = [row(seq) for seq in range(6)]
    rows += [row(seq, event_ts=stamp(seq - 2)) for seq in range(6, 10)]
    rows += [row(3, event_ts=stamp(3) + timedelta(milliseconds=250))]
    land_rows(data, "a", rows)

    assert rows_of(balance(data))["m1"][1:5] == (10, 1, 0, 0)


def test_a_clock_reset_begins_an_epoch(data: DataDir) -> None:
    rows = [row(seq) for seq in range(100, 110)]
    rows += [
        row(seq, event_ts=stamp(10 + seq), quality_flags=["clock_reset"] if seq == 100 else [])
        for seq in (100, 101, 103)
    ]
    land_rows(data, "a", rows)

    assert rows_of(balance(data))["m1"][1:5] == (13, 0, 0, 1)


def test_a_replayed_letter_no_longer_counts(worked: DataDir) -> None:
    replayed = worked.deadletter / "replayed"
    replayed.mkdir()
    (replayed / "r1.json").write_text('{"ids": [\n"d1",\n"d2"\n]}')
    ledger = rows_of(balance(worked))
    assert ledger["m1"] == (10, 9, 1, 0, 1, 0, None), "until its replay is stored"
    assert ledger[UNATTRIBUTED][3] == 0

    land_rows(worked, "d", [row(4)])
    assert rows_of(balance(worked))["m1"] == (10, 10, 1, 0, 0, 0, None)


def test_a_damaged_list_of_replayed_letters_is_named(worked: DataDir) -> None:
    replayed = worked.deadletter / "replayed"
    replayed.mkdir()
    (replayed / "r1.json").write_text("[]")

    with pytest.raises(LakeError, match=r"r1\.json is damaged"):
        balance(worked)


def test_a_damaged_landed_file_is_named(worked: DataDir) -> None:
    path = land_rows(worked, "e", [row(11)])
    content = path.read_bytes()
    for damaged in (b"no parquet", content[:40] + b"\xff" * 40 + content[80:]):
        path.write_bytes(damaged)
        with pytest.raises(LakeError, match=rf"{path.name} cannot be read"):
            balance(worked)


def test_a_damaged_dead_letter_is_named(worked: DataDir) -> None:
    [segment] = worked.deadletter.glob("segments/*/*/s1.jsonl")
    segment.write_bytes(segment.read_bytes() + b"{broken\n")

    with pytest.raises(LakeError, match=r"s1\.jsonl"):
        balance(worked)


def test_an_empty_window_is_refused(worked: DataDir) -> None:
    with pytest.raises(SettingsError, match="is not before"):
        balance(worked, window=Window(HOUR, HOUR))


def test_what_a_full_spool_dropped_is_declared(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(
        tmp_path / "truth",
        {("m1", 0): (1, 12), ("m2", 0): (1, 6)},
        [("m2", 4)],
        # 12 never left the gateway; of 7 a copy arrived.
        overflowed=[f"m1,{seq},{stamp(seq).isoformat()}" for seq in (12, 7)] + [",,"],
    )
    ledger = balance(worked, truth)

    assert rows_of(ledger)["m1"] == (12, 9, 1, 1, 2, 0, 1)
    assert ledger.problems == [], "11 may be the damaged one that names nothing"


def test_a_repeated_seq_that_was_never_generated_is_a_problem(
    worked: DataDir, tmp_path: Path
) -> None:
    again = [row(seq, event_ts=stamp(seq) + timedelta(milliseconds=1)) for seq in (5, 6)]
    land_rows(worked, "d", again)
    epochs = {("m1", 0): (1, 10), ("m2", 0): (1, 6)}
    truth = write_truth(tmp_path / "truth", epochs, [("m2", 4)])
    # What a writer that was killed left behind.
    write_truth(truth, epochs, run=".run-2.17")

    assert balance(worked, truth).problems == [
        "m1: 2 stored readings repeat a seq with another event_ts"
    ]


@dataclass(frozen=True)
class Sample:
    """A sample of a meter and what became of it."""

    meter: str
    epoch: int
    seq: int
    at_s: int
    fate: str


FATES = ("stored", "twice", "refused", "refused_without_time", "unreadable", "dropped")


@st.composite
def fleets(draw: st.DrawFn) -> list[Sample]:
    """One or two 1 Hz meters, replaced half-way or not, that stand unpowered now and then."""
    samples = []
    for meter in ("m1", "m2")[: draw(st.integers(1, 2))]:
        at_s = draw(st.integers(0, 5))
        for epoch in range(draw(st.integers(1, 2))):
            fates = draw(st.lists(st.sampled_from(FATES), min_size=1, max_size=12))
            # The last sample of the first epoch is stored, so that its seq is seen to fall.
            for number, fate in enumerate([*fates, "stored"]):
                seq = number + (0 if epoch else 100)
                samples.append(Sample(meter, epoch, seq, at_s, fate))
                at_s += draw(st.sampled_from((1, 1, 1, 40)))
            at_s += 1000
    return samples


def write_fleet(data: DataDir, samples: list[Sample]) -> Path:
    """Lake, dead letter, registry and truth of `samples`; gives the folder of the truth."""
    kept = [s for s in samples if s.fate in ("stored", "twice")]
    again = [s for s in kept if s.fate == "twice"]
    for segment, part in (("a", kept), ("b", again)):
        rows = [row(s.seq, meter=s.meter, event_ts=stamp(s.at_s)) for s in part]
        if rows:
            land_rows(data, segment, rows)
    letters = []
    for s in samples:
        name, published = f"{s.meter}-{s.epoch}-{s.seq}", stamp(s.at_s + 2)
        if s.fate == "refused":
            letters.append(
                letter(name, s.meter, s.seq, event_ts=stamp(s.at_s), published=published)
            )
        elif s.fate == "refused_without_time":
            letters.append(letter(name, s.meter, s.seq, published=published))
        elif s.fate == "unreadable":
            letters.append(letter(name, published=published))
    write_dead_letters(data, letters)
    meters = sorted({s.meter for s in samples})
    starts = {m: min(s.at_s for s in samples if s.meter == m) for m in meters}
    register(data, *((m, stamp(starts[m]), None) for m in meters))
    run = data.root / "truth" / "run-1"
    run.mkdir(parents=True)
    lines = ["meter_id,epoch,first_seq,last_seq,first_event_ts,last_event_ts"]
    for meter, epoch in sorted({(s.meter, s.epoch) for s in samples}):
        own = [s for s in samples if (s.meter, s.epoch) == (meter, epoch)]
        first, last = own[0], own[-1]
        times = f"{stamp(first.at_s).isoformat()},{stamp(last.at_s).isoformat()}"
        lines.append(f"{meter},{epoch},{first.seq},{last.seq},{times}")
    (run / "meters.csv").write_text("\n".join(lines) + "\n")
    lines = ["meter_id,seq,event_ts,fault,epoch"]
    lines += [
        f"{s.meter},{s.seq},{stamp(s.at_s).isoformat()},dropped,{s.epoch}"
        for s in samples
        if s.fate == "dropped"
    ]
    (run / "faults.csv").write_text("\n".join(lines) + "\n")
    return data.root / "truth"


def moments(samples: list[Sample], known: set[str]) -> dict[Sample, int | None]:
    """Second at which each sample counts: its own where its fate is `known` (or, with truth, at an
    end of the epoch), else a step of 1 s per seq after the known one before, not beyond the known
    one after; None where one of them is missing."""
    found: dict[Sample, int | None] = {}
    for key in {(s.meter, s.epoch) for s in samples}:
        own = [s for s in samples if (s.meter, s.epoch) == key]
        is_known = [s.fate in known or ("dropped" in known and s in (own[0], own[-1])) for s in own]
        for i, s in enumerate(own):
            if is_known[i]:
                found[s] = s.at_s
                continue
            before = [b for b, k in zip(own[:i], is_known[:i], strict=True) if k]
            after = [a for a, k in zip(own[i:], is_known[i:], strict=True) if k]
            found[s] = (
                min(before[-1].at_s + s.seq - before[-1].seq, after[0].at_s)
                if before and after
                else None
            )
    return found


def window_of(cuts: tuple[int, int] | None) -> Window:
    return Window(stamp(cuts[0]), stamp(cuts[1])) if cuts else Window()


def is_inside(moment: int | None, cuts: tuple[int, int] | None) -> bool:
    return cuts is None or (moment is not None and cuts[0] <= moment < cuts[1])


CUTS = st.none() | st.tuples(st.integers(0, 40), st.integers(41, 2200))


@settings(max_examples=30)
@given(samples=fleets(), cuts=CUTS)
def test_with_truth_any_fleet_balances_as_its_fates_say(
    samples: list[Sample], cuts: tuple[int, int] | None
) -> None:
    with TemporaryDirectory() as folder:
        data = DataDir(Path(folder) / "data")
        truth = write_fleet(data, samples)
        ledger = balance(data, truth, window_of(cuts))

    at = moments(samples, {"stored", "twice", "dropped"})
    for meter in {s.meter for s in samples}:
        fates = [s.fate for s in samples if s.meter == meter and is_inside(at[s], cuts)]
        stored = fates.count("stored") + fates.count("twice")
        refused = fates.count("refused") + fates.count("refused_without_time")
        lost = fates.count("dropped") + fates.count("unreadable")
        expected = (len(fates), stored, fates.count("twice"), refused, lost, 0)
        found = rows_of(ledger).get(meter, (0, 0, 0, 0, 0, 0, 0))
        assert found == (*expected, fates.count("dropped"))
    assert ledger.problems == []


@settings(max_examples=30)
@given(samples=fleets(), cuts=CUTS)
def test_without_truth_any_fleet_balances_by_its_holes(
    samples: list[Sample], cuts: tuple[int, int] | None
) -> None:
    with TemporaryDirectory() as folder:
        data = DataDir(Path(folder) / "data")
        write_fleet(data, samples)
        ledger = balance(data, window=window_of(cuts))

    at = moments(samples, {"stored", "twice"})
    watermark = max(s.at_s for s in samples if s.fate in ("stored", "twice"))
    loose = sum(s.fate == "unreadable" and (cuts is None or s.at_s + 2 >= cuts[0]) for s in samples)
    for meter in {s.meter for s in samples}:
        own = [s for s in samples if s.meter == meter]
        fates = [s.fate for s in own if is_inside(at[s], cuts) and at[s] is not None]
        # Before the first stored reading of an epoch a letter has only its own event_ts.
        outside = [s for s in own if at[s] is None]
        timed = sum(s.fate == "refused" and is_inside(s.at_s, cuts) for s in outside)
        blind = [s for s in outside if s.fate == "refused_without_time"]
        loose += sum(cuts is not None and s.at_s + 2 >= cuts[0] for s in blind)
        stored = fates.count("stored") + fates.count("twice")
        refused = fates.count("refused") + fates.count("refused_without_time") + timed
        refused += len(blind) if cuts is None else 0
        lost = fates.count("dropped") + fates.count("unreadable")
        last = max(s.at_s for s in own if s.fate in ("stored", "twice"))
        start = max(min(s.at_s for s in own), cuts[0] if cuts else 0)
        end = min(max(watermark, last + 1), cuts[1] if cuts else 10**9)
        expected = max(stored + refused + lost, end - start)
        row_of_meter = (expected, stored, fates.count("twice"), refused, lost)
        found = rows_of(ledger).get(meter, (0, 0, 0, 0, 0, 0, None))
        assert found == (*row_of_meter, expected - stored - refused - lost, None)
    assert rows_of(ledger)[UNATTRIBUTED][3] == loose
    assert ledger.problems == []


@settings(max_examples=15)
@given(samples=fleets(), cut_s=st.integers(1, 1500))
def test_adjoining_windows_add_up_to_the_whole(samples: list[Sample], cut_s: int) -> None:
    timed = [s for s in samples if s.fate not in ("unreadable", "refused_without_time")]
    with TemporaryDirectory() as folder:
        data = DataDir(Path(folder) / "data")
        write_fleet(data, timed)
        windows = (Window(), Window(None, stamp(cut_s)), Window(stamp(cut_s), None))
        whole, early, late = (balance(data, window=window).total for window in windows)

    def sums(row: LedgerRow) -> tuple[int, ...]:
        return row.stored, row.duplicates, row.dead_lettered, row.lost

    assert tuple(a + b for a, b in zip(sums(early), sums(late), strict=True)) == sums(whole)


def test_a_letter_of_several_readings_counts_as_so_many(worked: DataDir) -> None:
    before = rows_of(balance(worked))[UNATTRIBUTED]
    write_dead_letters(worked, [letter("many") | {"readings": 3}], segment="s2")

    after = rows_of(balance(worked))[UNATTRIBUTED]
    assert (before[3], after[3]) == (1, 4)


def test_an_unregistered_meter_has_the_interval_that_its_readings_show(data: DataDir) -> None:
    """Every 5 s, once 12 s late and once with a hole; the other meter is seen up to second 99.

    In service from second 0 to the watermark: 99 s are 20 samples. A meter seen once samples every
    second for want of anything else: 99 from second 0 to the watermark.
    """
    seconds = {0: 0, 1: 5, 2: 10, 3: 27, 4: 32, 6: 42, 7: 47}
    slow = [row(seq, meter="slow", event_ts=stamp(at)) for seq, at in seconds.items()]
    land_rows(data, "a", slow)
    land_rows(data, "b", [row(0, meter="once"), *(row(seq, meter="fast") for seq in (98, 99))])

    found = rows_of(balance(data))

    assert found["slow"] == (20, 7, 0, 0, 1, 12, None)
    assert found["once"] == (99, 1, 0, 0, 0, 98, None)
    # In service up to its own last sample, which ends after the watermark.
    assert found["fast"] == (2, 2, 0, 0, 0, 0, None)


def test_the_interval_shown_is_a_whole_number_of_milliseconds(data: DataDir) -> None:
    # Steps of 5 ms and 0.4 ms: T is 5 ms, and 20 samples take the 0.1 s up to the watermark.
    step = timedelta(microseconds=5400)
    land_rows(data, "a", [row(n, meter="quick", event_ts=stamp(0) + n * step) for n in range(3)])
    land_rows(data, "b", [row(1, meter="m2", event_ts=stamp(0) + timedelta(milliseconds=100))])

    assert rows_of(balance(data))["quick"] == (20, 3, 0, 0, 0, 17, None)


@pytest.mark.parametrize(("beyond_us", "lost"), [(0, 49), (1, 0)])
def test_a_falling_seq_begins_an_epoch_when_the_clock_jumps_more_than_five_minutes(
    data: DataDir, beyond_us: int, lost: int
) -> None:
    """From 100 to 50 the clock would go back 50 s; it goes on 250 s, which is a jump of 300 s."""
    jumped = stamp(0) + timedelta(seconds=250, microseconds=beyond_us)
    land_rows(data, "a", [row(100, event_ts=stamp(0)), row(50, event_ts=jumped)])
    register(data, ("m1", stamp(0), None))

    assert rows_of(balance(data))["m1"][1:5] == (2, 0, 0, lost)


@pytest.mark.parametrize(("beyond_us", "stored", "copies"), [(0, 2, 1), (1, 3, 0)])
def test_a_slow_meter_begins_an_epoch_when_its_clock_jumps_more_than_two_samples(
    data: DataDir, beyond_us: int, stored: int, copies: int
) -> None:
    """T is 200 s; from 100 back to 99 the clock goes on by T, a jump of two samples.

    In one epoch the second 100 is a copy of the first, in two it is not.
    """
    times = [timedelta(), timedelta(seconds=200, microseconds=beyond_us), timedelta(seconds=400)]
    seqs = (100, 99, 100)
    land_rows(
        data,
        "a",
        [row(seq, event_ts=stamp(0) + at) for seq, at in zip(seqs, times, strict=True)],
    )
    meter = {
        "meter_id": "m1",
        "pole_id": "p1",
        "nominal_voltage_v": 240.0,
        "sample_interval_ms": 200_000,
        "valid_from": stamp(0),
    }
    write_registry(data.registry, pa.Table.from_pylist([meter], REGISTRY_SCHEMA))

    assert rows_of(balance(data))["m1"][1:3] == (stored, copies)


def test_all_periods_of_service_count(data: DataDir) -> None:
    """In service to second 20 and from 50 on; the watermark is second 99, a sample ends at 100."""
    land_rows(data, "a", [row(seq) for seq in (0, 99)])
    register(data, ("m1", stamp(0), stamp(20)), ("m1", stamp(50), None))

    # Of seconds 0 … 99 the counter misses 98; the 70 samples of the service are fewer.
    assert rows_of(balance(data))["m1"] == (100, 2, 0, 0, 98, 0, None)
    window = Window(stamp(10), stamp(60))
    dead = ("dead", stamp(0), stamp(20)), ("dead", stamp(50), None)
    register(data, *dead)
    assert rows_of(balance(data, window=window))["dead"] == (20, 0, 0, 0, 0, 20, None)
    assert rows_of(balance(data))["dead"] == (69, 0, 0, 0, 0, 69, None)


def test_a_period_ends_where_the_next_begins(data: DataDir) -> None:
    """Both are open in the registry, of other poles; no second counts twice."""
    land_rows(data, "a", [row(99, meter="m2")])
    register(data, ("m1", stamp(0), None), ("m1", stamp(40), None))

    assert rows_of(balance(data))["m1"] == (99, 0, 0, 0, 0, 99, None)


def test_an_overflow_belongs_to_the_meter_and_epoch_that_it_names(
    worked: DataDir, tmp_path: Path
) -> None:
    """7 and 8 of m2 are not m1's; 9 at another time and 50 are none of the epoch's."""
    truth = write_truth(
        tmp_path / "truth",
        {("m1", 0): (1, 10), ("m2", 0): (1, 9)},
        [("m2", 4)],
        overflowed=[
            *(f"m2,{seq},{stamp(seq).isoformat()}" for seq in (7, 8)),
            f"m2,9,{stamp(500).isoformat()}",
            f"m2,50,{stamp(5).isoformat()}",
        ],
    )
    found = rows_of(balance(worked, truth))

    assert found["m1"] == (10, 9, 1, 1, 0, 0, 0)
    assert found["m2"] == (9, 4, 0, 0, 5, 0, 3)


def test_a_dropped_reading_belongs_to_its_epoch_and_run(worked: DataDir, tmp_path: Path) -> None:
    """Two runs with an m2 each; the second declares 8, and the first knows nothing of it."""
    truth = write_truth(tmp_path / "truth", {("m1", 0): (1, 10), ("m2", 0): (1, 5)}, [("m2", 4)])
    write_truth(tmp_path / "truth", {("m2", 0): (7, 9)}, [("m2", 8)], run="run-2")
    ledger = balance(worked, truth)

    assert rows_of(ledger)["m2"] == (8, 4, 0, 0, 4, 0, 2)
    early = balance(worked, truth, Window(None, stamp(6)))
    assert rows_of(early)["m2"] == (5, 4, 0, 0, 1, 0, 1)


def test_losses_in_a_window_may_be_explained_but_not_beyond_what_is_unattributed(
    worked: DataDir, tmp_path: Path
) -> None:
    """m2 misses 6 undeclared, one payload is unattributed: at most, and not exactly, so many."""
    epochs = {("m1", 0): (1, 10), ("m2", 0): (1, 6)}
    truth = write_truth(tmp_path / "truth", epochs, [("m2", 4)])
    # What a writer that was killed left behind.
    write_truth(truth, epochs, run=".run-2.17")
    whole, part = Window(), Window(None, stamp(6))

    assert balance(worked, truth, whole).problems == []
    assert balance(worked, truth, part).problems == []
    more = write_truth(tmp_path / "more", {("m1", 0): (1, 12), ("m2", 0): (1, 6)}, [("m2", 4)])
    wide = Window(None, stamp(3000))
    assert balance(worked, more, wide).problems == [
        "m1: 2 readings neither stored, dead-lettered nor declared lost",
        "m2: 1 readings neither stored, dead-lettered nor declared lost",
    ]


def test_the_total_of_declared_losses_is_known_where_one_meter_knows_its_own() -> None:
    known, other = (LedgerRow(m, 9, 5, 1, 2, 1, 1, lost) for m, lost in (("a", 3), ("b", None)))

    assert Ledger([known, other], []).total == LedgerRow("total", 18, 10, 2, 4, 2, 2, 3)
    assert Ledger([other], []).total.declared_lost is None


def test_a_window_is_whole_only_without_any_end() -> None:
    assert Window().is_whole
    assert not Window(HOUR, None).is_whole
    assert not Window(None, HOUR).is_whole
    assert Window(stamp(0), stamp(1)).micros()[1] - Window(stamp(0), None).micros()[0] == 10**6


def test_a_letter_of_a_sample_that_was_never_generated_takes_nothing_from_what_is_declared(
    worked: DataDir, tmp_path: Path
) -> None:
    """m2 misses 4, which is declared, and 6; a letter of its 77 stands for one of them."""
    epochs = {("m1", 0): (1, 10), ("m2", 0): (1, 6)}
    truth = write_truth(tmp_path / "truth", epochs, [("m2", 4)])
    # What a writer that was killed left behind.
    write_truth(truth, epochs, run=".run-2.17")
    write_dead_letters(worked, [letter("d3", "m2", 77)], segment="s2")

    assert rows_of(balance(worked, truth))["m2"] == (6, 4, 0, 1, 1, 0, 1)
