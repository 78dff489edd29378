"""The verdict of `ami demo --check` on injected and found sags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ami_cli.demo_check import FoundEvent, InjectedRun, compare_events, read_injected

START = datetime(2026, 3, 1, 14, tzinfo=UTC)
END = START + timedelta(seconds=6)
INJECTED = InjectedRun("m1", START, END, is_event=True, whole=True)


def test_an_injected_sag_that_was_found_exactly_is_no_problem() -> None:
    assert compare_events([INJECTED], [FoundEvent("m1", START, END)]) == []


def test_a_sag_that_was_not_found_is_named() -> None:
    [problem] = compare_events([INJECTED], [])
    assert problem.startswith("m1: the sag 2026-03-01T14:00:00+00:00")


def test_a_sag_found_one_sample_short_is_a_problem() -> None:
    short = FoundEvent("m1", START, END - timedelta(seconds=1))
    assert len(compare_events([INJECTED], [short])) == 1


def test_a_sag_of_another_meter_is_a_problem_twice() -> None:
    assert len(compare_events([INJECTED], [FoundEvent("m2", START, END)])) == 2


def test_an_event_that_was_never_injected_is_named() -> None:
    [problem] = compare_events([], [FoundEvent("m1", START, END)])
    assert "never injected" in problem


def test_a_sag_with_a_lost_reading_need_not_be_exact() -> None:
    torn = InjectedRun("m1", START, END, is_event=True, whole=False)
    assert compare_events([torn], []) == []
    assert compare_events([torn], [FoundEvent("m1", START, START)]) == []


def write_truth(folder: Path, fault_seq: int, cut_end: str = "false") -> Path:
    run = folder / "run-x"
    run.mkdir()
    (run / "low_runs.csv").write_text(
        "meter_id,start_ts,end_ts,first_seq,last_seq,is_event,cut_start,cut_end\n"
        f"m1,2026-03-01T14:00:00Z,2026-03-01T14:00:06Z,100,106,true,false,{cut_end}\n"
    )
    (run / "faults.csv").write_text(f"meter_id,seq,fault\nm1,{fault_seq},dropped\n")
    return folder


def test_a_loss_beside_a_sag_makes_it_uncertain_and_one_further_off_does_not(
    tmp_path: Path,
) -> None:
    for seq, whole in ((98, True), (99, False), (103, False), (107, False), (108, True)):
        folder = tmp_path / str(seq)
        folder.mkdir()
        [run] = read_injected(write_truth(folder, seq))
        assert run.whole is whole, seq
        assert (run.start_ts, run.end_ts) == (START, END)


def test_a_sag_cut_by_the_end_of_the_run_is_uncertain(tmp_path: Path) -> None:
    [run] = read_injected(write_truth(tmp_path, 1, cut_end="true"))
    assert not run.whole
