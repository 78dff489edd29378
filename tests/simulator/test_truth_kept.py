"""The ground truth of a run that is repeated is whole before, while and after it is replaced."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from simulator_helpers import START, run


def test_what_a_killed_writer_moved_aside_is_back_after_the_next_run(tmp_path: Path) -> None:
    raw = {"pole_id": "p1", "num_meters": 1}
    run(raw, 1, truth_dir=tmp_path)
    [first] = tmp_path.iterdir()
    told = (first / "meters.csv").read_bytes()
    first.rename(tmp_path / f".replaced-{first.name}")

    run(raw, 1, start=START + timedelta(minutes=1), truth_dir=tmp_path)

    assert (first / "meters.csv").read_bytes() == told
    assert len(list(tmp_path.iterdir())) == 2


def test_the_run_that_was_killed_replaces_it_when_repeated(tmp_path: Path) -> None:
    raw = {"pole_id": "p1", "num_meters": 1}
    run(raw, 1, truth_dir=tmp_path)
    [folder] = tmp_path.iterdir()
    (folder / "meters.csv").write_text("old")
    folder.rename(tmp_path / f".replaced-{folder.name}")

    run(raw, 1, truth_dir=tmp_path)

    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "meters.csv").read_text() != "old"
