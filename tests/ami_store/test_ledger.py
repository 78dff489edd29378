"""The ledger: every reading is stored, dead-lettered or declared lost, meter by meter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from store_helpers import (
    HOUR,
    NEXT_HOUR,
    build_warehouse,
    compact,
    land_rows,
    row,
    write_dead_letters,
)

from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir
from ami_store.ledger import UNATTRIBUTED, Ledger, balance


def letter(identity: str, meter_id: str | None = None, seq: int | None = None) -> dict[str, Any]:
    return {"dead_letter_id": identity, "meter_id": meter_id, "seq": seq, "code": "out_of_range"}


def rows_of(ledger: Ledger) -> dict[str, tuple[int | None, ...]]:
    """expected, stored, duplicates, dead_lettered, lost, declared_lost by meter."""
    return {
        r.meter_id: (
            r.expected,
            r.stored,
            r.duplicates,
            r.dead_lettered,
            r.lost,
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


def write_truth(folder: Path, *lines: str) -> Path:
    run = folder / "run-1"
    run.mkdir(parents=True)
    (run / "meters.csv").write_text("\n".join(["meter_id,epoch,generated,dropped", *lines]) + "\n")
    return folder


def test_without_truth_a_hole_in_seq_is_a_declared_loss(worked: DataDir) -> None:
    ledger = balance(worked)

    assert rows_of(ledger) == {
        "m1": (10, 9, 1, 1, 0, None),
        "m2": (5, 4, 0, 0, 1, None),
        UNATTRIBUTED: (0, 0, 0, 1, -1, None),
    }
    assert ledger.problems == []
    total = ledger.total
    assert (total.expected, total.stored, total.duplicates, total.dead_lettered, total.lost) == (
        15,
        13,
        1,
        2,
        0,
    )


def test_with_truth_the_hand_worked_lake_balances(worked: DataDir, tmp_path: Path) -> None:
    # The unreadable payload is one dead letter; the truth counts one malformed reading of m2.
    truth = write_truth(tmp_path / "truth", "m1,0,10,0", "m2,0,6,1")
    ledger = balance(worked, truth)

    assert rows_of(ledger) == {
        "m1": (10, 9, 1, 1, 0, 0),
        "m2": (6, 4, 0, 0, 2, 1),
        UNATTRIBUTED: (0, 0, 0, 1, -1, None),
    }
    assert ledger.problems == []
    assert ledger.total.declared_lost == 1


def test_several_epochs_and_runs_of_a_meter_are_summed(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth", "m1,0,6,0", "m1,1,4,0", "m2,0,6,1")

    assert balance(worked, truth).problems == []


def test_more_than_was_generated_is_a_problem(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth", "m1,0,8,0", "m2,0,6,1")
    problems = balance(worked, truth).problems

    assert problems[0] == "m1: 2 more than the 8 expected"


def test_a_meter_the_truth_does_not_know_is_balanced_by_its_span(
    worked: DataDir, tmp_path: Path
) -> None:
    truth = write_truth(tmp_path / "truth", "m1,0,10,0")

    ledger = balance(worked, truth)

    assert ledger.problems == []
    [foreign] = [row for row in ledger.rows if row.meter_id == "m2"]
    assert foreign.stored == 4
    assert foreign.expected == foreign.stored + foreign.dead_lettered + foreign.lost
    assert foreign.declared_lost is None


def test_an_unexplained_hole_is_a_problem(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth", "m1,0,12,0", "m2,0,6,1")

    assert "m1: 2 readings neither stored, dead-lettered nor declared lost" in (
        balance(worked, truth).problems
    )


def test_a_meter_that_never_arrived_is_a_problem(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth", "m1,0,10,0", "m2,0,6,1", "m3,0,3,0")
    ledger = balance(worked, truth)

    assert rows_of(ledger)["m3"] == (3, 0, 0, 0, 3, 0)
    assert any(problem.startswith("m3: 3 readings neither") for problem in ledger.problems)


def test_a_surplus_is_not_offset_by_a_hole_elsewhere(worked: DataDir, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth", "m1,0,8,0", "m2,0,8,1")
    problems = balance(worked, truth).problems

    assert "m1: 2 more than the 8 expected" in problems


def test_a_loose_dead_letter_that_nobody_misses_is_a_problem(
    worked: DataDir, tmp_path: Path
) -> None:
    truth = write_truth(tmp_path / "truth", "m1,0,10,0", "m2,0,5,1")

    assert balance(worked, truth).problems == ["1 unattributed dead letters that no meter misses"]


def test_a_redelivered_refusal_counts_once(worked: DataDir) -> None:
    write_dead_letters(worked, [letter("d1", "m1", 4), letter("d2")], segment="s2")

    assert rows_of(balance(worked))["m1"] == (10, 9, 1, 1, 0, None)
    assert rows_of(balance(worked))[UNATTRIBUTED][3] == 1


def test_a_refused_copy_of_a_stored_reading_is_not_missed_twice(worked: DataDir) -> None:
    write_dead_letters(worked, [letter("d3", "m1", 5)], segment="s2")

    assert rows_of(balance(worked))["m1"] == (10, 9, 1, 1, 0, None)


def test_a_meter_that_starts_its_counter_again_spans_two_epochs(data: DataDir) -> None:
    # 98 … 100, then from one: 1 … 3 of the next hour without 2.
    old = [row(seq) for seq in (98, 99, 100)]
    new = [row(seq, hour=NEXT_HOUR) for seq in (1, 3)]
    land_rows(data, "a", old, hour=HOUR)
    land_rows(data, "b", new, hour=NEXT_HOUR)

    assert rows_of(balance(data))["m1"] == (6, 5, 0, 0, 1, None)


def test_an_empty_lake_balances(data: DataDir) -> None:
    ledger = balance(data)

    assert rows_of(ledger) == {UNATTRIBUTED: (0, 0, 0, 0, 0, None)}
    assert ledger.problems == []


def test_a_folder_without_truth_is_named(worked: DataDir, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="empty: no ground truth here"):
        balance(worked, tmp_path / "empty")


def test_the_ledger_reads_beside_an_open_warehouse(worked: DataDir) -> None:
    build_warehouse(worked)

    assert balance(worked).problems == []
