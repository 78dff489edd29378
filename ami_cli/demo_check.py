"""`ami demo --check`: reads nothing, gives a verdict on the whole way of a reading.

Runs the demo headless in a folder and on ports of its own, stops it and verifies: generated =
stored + dead-lettered + declared lost for every meter, every injected sag found with its exact
samples (where no reading around it was lost), nothing else taken for a sag, the Dagster UI up.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import typer

from ami_cli.building import build
from ami_cli.platform_run import (
    environment,
    last_truth_end,
    now,
    start_ingest,
    start_pubsub,
    start_webserver,
    stored_rows,
    wait_for_dagster,
    wait_for_ingest,
    with_free_ports,
)
from ami_cli.processes import Supervisor, ami_command
from ami_cli.simulation import SimulationOrder, run_simulation
from ami_cli.terminal import interrupted_by_sigterm, say
from ami_contract.errors import AmiError
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.ledger import balance, truth_files
from ami_store.warehouse import query

HISTORY: Final = timedelta(minutes=40)
LIVE_S: Final = 20.0


@dataclass(frozen=True)
class InjectedRun:
    """A low run of the ground truth, as sampled.

    Attributes:
        meter_id: meter.
        start_ts, end_ts: first and last low sample, UTC.
        is_event: lasts 5 s or longer.
        whole: neither cut by the run's ends nor with a reading lost or damaged in or beside it.
    """

    meter_id: str
    start_ts: datetime
    end_ts: datetime
    is_event: bool
    whole: bool


@dataclass(frozen=True)
class FoundEvent:
    """A row of `voltage_events`: meter, first and last low reading (UTC)."""

    meter_id: str
    start_ts: datetime
    end_ts: datetime


def read_injected(truth: Path) -> list[InjectedRun]:
    """Low runs of every simulated run below `truth`."""
    unreadable: set[tuple[str, int]] = set()
    for path in truth_files(truth, "faults.csv"):
        unreadable |= {
            (row["meter_id"], int(row["seq"]))
            for row in _rows(path)
            if row["fault"] in ("dropped", "malformed")
        }
    return [
        InjectedRun(
            row["meter_id"],
            datetime.fromisoformat(row["start_ts"]),
            datetime.fromisoformat(row["end_ts"]),
            _is_true(row["is_event"]),
            not _is_true(row["cut_start"])
            and not _is_true(row["cut_end"])
            and not any(
                (row["meter_id"], seq) in unreadable
                for seq in range(int(row["first_seq"]) - 1, int(row["last_seq"]) + 2)
            ),
        )
        for path in truth_files(truth, "low_runs.csv")
        for row in _rows(path)
    ]


def _is_true(text: str) -> bool:
    return text.lower() in ("true", "1")


def _rows(path: Path) -> Iterable[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def read_found(data: DataDir) -> list[FoundEvent]:
    """All rows of `voltage_events`; raises WarehouseError."""
    answer = query(data, "SELECT meter_id, start_ts, end_ts FROM voltage_events")
    return [
        FoundEvent(meter, start.astimezone(UTC), end.astimezone(UTC))
        for meter, start, end in answer.rows
    ]


def compare_events(injected: list[InjectedRun], found: list[FoundEvent]) -> list[str]:
    """What was injected and not found exactly, and what was found and not injected."""
    exact = {(event.meter_id, event.start_ts, event.end_ts) for event in found}
    problems = [
        f"{run.meter_id}: the sag {run.start_ts.isoformat()} … {run.end_ts.isoformat()} "
        "was not found with exactly its samples"
        for run in injected
        if run.is_event and run.whole and (run.meter_id, run.start_ts, run.end_ts) not in exact
    ]
    problems += [
        f"{event.meter_id}: the event {event.start_ts.isoformat()} was never injected"
        for event in found
        if not any(
            run.meter_id == event.meter_id
            and run.start_ts <= event.end_ts
            and event.start_ts <= run.end_ts
            for run in injected
        )
    ]
    return problems


def run_check(settings: Settings, config: Path) -> None:
    """Check the whole way; exit status 1 with what failed, and the folder is kept."""
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="ami-check-"))
    own = with_free_ports(settings, folder)
    say(f"demo --check in {folder}")
    try:
        with interrupted_by_sigterm():
            problems = _check(own, config)
    except AmiError as error:
        problems = [str(error)]
    for problem in problems:
        say(f"FAILED: {problem}")
    if problems:
        say(f"demo --check failed after {time.monotonic() - begun:.0f} s; see {folder}")
        raise typer.Exit(1)
    shutil.rmtree(folder)
    say(f"demo --check passed in {time.monotonic() - begun:.0f} s")


def _check(settings: Settings, config: Path) -> list[str]:
    with Supervisor(settings.data.logs, environment(settings)) as supervisor:
        start_pubsub(supervisor, settings)
        start_ingest(supervisor)
        sent = _history(settings, config)
        _live(supervisor, settings, config)
        rows = wait_for_ingest(supervisor, settings, at_least=sent * 2, timeout_s=60)
        supervisor.stop("ingest")
        say(f"{rows:,} rows stored; building through Dagster")
        outcome = build(settings, None, None)
        if outcome.failures:
            return [f"build: {failure}" for failure in outcome.failures]
        wait_for_dagster(supervisor, settings)
    ledger = balance(settings.data, settings.data.truth)
    total = ledger.total
    injected = read_injected(settings.data.truth)
    found = read_found(settings.data)
    say(
        f"{total.expected:,} generated = {total.stored:,} stored + {total.dead_lettered} "
        f"dead-lettered + {total.declared_lost} declared lost ({total.duplicates} duplicates "
        f"dropped); {len(found)} sags found, {sum(run.is_event for run in injected)} injected"
    )
    problems = [*ledger.problems, *compare_events(injected, found)]
    if not total.stored:
        problems.append("nothing was stored")
    if not found:
        problems.append("no sag was found")
    return problems


def _history(settings: Settings, config: Path) -> int:
    end = now()
    summary = run_simulation(
        settings,
        SimulationOrder(
            config=config,
            speed="max",
            start=end - HISTORY,
            end=end,
            truth=settings.data.truth,
        ),
    )
    assert summary is not None
    if summary.stopped_early:
        raise KeyboardInterrupt
    return summary.published


def _live(supervisor: Supervisor, settings: Settings, config: Path) -> None:
    """Live meters for some seconds, following on the history; Dagster's UI starts meanwhile."""
    start = last_truth_end(settings.data.truth) or now()
    supervisor.start(
        "simulate",
        ami_command(
            "simulate",
            "--config",
            str(config),
            "--from",
            start.isoformat(),
            "--truth",
            str(settings.data.truth),
        ),
    )
    say(f"live meters for {LIVE_S:.0f} s")
    start_webserver(supervisor, settings)
    deadline = time.monotonic() + LIVE_S
    while time.monotonic() < deadline:
        supervisor.check()
        time.sleep(0.5)
    supervisor.stop("simulate")
    say(f"{stored_rows(settings):,} rows so far")
