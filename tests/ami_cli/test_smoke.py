"""`ami smoke`: its verdicts, the moment it starts at, and the whole of it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from ami_cli.demo_check import FoundEvent, InjectedRun
from ami_cli.smoke import CONFIG, RUN, calm_start, judge_counts, judge_events, judge_ledger
from ami_store.ledger import Ledger, LedgerRow
from simulator.config import load_config
from simulator.fleet import build_fleet
from simulator.voltage import forced_sags

START = datetime(2026, 3, 1, 14, tzinfo=UTC)
END = START + timedelta(seconds=6)
FORCED = InjectedRun("m1", START, END, is_event=True, whole=True)
FOUND = FoundEvent("m1", START, END)
STEADY = list(range(10, 250, 10))
ROW = LedgerRow("m1", 240, 240, 0, 0, 0, 0, 0)


def test_a_steady_run_with_its_one_sag_passes() -> None:
    assert judge_counts(240, STEADY) == []
    assert judge_ledger(Ledger([ROW], []), 240) == []
    assert judge_events([FORCED], [FOUND]) == []


def test_no_message_is_a_failure() -> None:
    assert judge_counts(0, STEADY) == ["no message was received"]


@pytest.mark.parametrize(
    "counts", [[], [10, 20, 30], [0] * 24, [240] * 24, [*STEADY[:12], *[120] * 12]]
)
def test_rows_that_do_not_rise_all_along_are_a_failure(counts: list[int]) -> None:
    [problem] = judge_counts(240, counts)
    assert problem.startswith("the row count did not rise while the meters ran")


def test_a_ledger_that_does_not_close_or_misses_readings_is_a_failure() -> None:
    assert judge_ledger(Ledger([ROW], ["m1: odd"]), 240) == ["the ledger does not close: m1: odd"]
    assert judge_ledger(Ledger([ROW], []), 241) == ["240 readings were generated, not 241"]
    short = replace(ROW, stored=239, lost=1, declared_lost=1)
    assert judge_ledger(Ledger([short], []), 240) == ["239 of 240 readings are stored"]


def test_anything_but_the_one_forced_sag_is_a_failure() -> None:
    other = FoundEvent("m2", START, END)
    shorter = FoundEvent("m1", START, END - timedelta(seconds=1))
    assert judge_events([FORCED], [])[-1] == "0 sags were found, not one"
    assert judge_events([FORCED], [FOUND, other])[-1] == "2 sags were found, not one"
    assert len(judge_events([FORCED], [shorter])) == 1
    assert len(judge_events([FORCED], [other])) == 2
    cut = replace(FORCED, whole=False)
    assert "0 whole sags were forced" in judge_events([cut], [FOUND])[0]


def test_a_run_that_starts_at_a_calm_moment_holds_exactly_one_whole_sag() -> None:
    config = load_config(CONFIG)
    [pole] = build_fleet(config).poles
    waits = []
    for earliest_s in range(0, 240, 7):
        earliest = START + timedelta(seconds=earliest_s)
        start = calm_start(config, earliest)
        waits.append((start - earliest).total_seconds())
        first_ms, last_ms = (int(t.timestamp() * 1000) for t in (start, start + RUN))
        met = [
            sag
            for sag in forced_sags(config, pole, first_ms, last_ms)
            if sag.start_ms < last_ms and sag.end_ms > first_ms
        ]
        [whole] = met
        assert first_ms <= whole.start_ms
        assert whole.end_ms <= last_ms
    assert 0 in waits
    assert 0 < max(waits) <= 30
    assert any(b < a for a, b in pairwise(waits))


@pytest.mark.slow
def test_two_minutes_in_real_time_pass(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ami_cli.main", "smoke"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "240 messages, 240 rows" in done.stderr
    assert "smoke passed in" in done.stderr
    assert list(tmp_path.glob("ami-smoke-*")) == [], "nothing is left behind"
