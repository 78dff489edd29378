"""`ami smoke`: reads `smoke.yaml`, gives a verdict on two minutes of its meters in real time.

Pub/Sub, ingest and meters run as processes of their own in a folder of their own; rows must rise
while they do. Then the models are built: the one forced sag must be found with exactly its
samples, nothing else, and the ledger must close against the ground truth.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import typer

from ami_cli.building import build
from ami_cli.demo_check import FoundEvent, InjectedRun, compare_events, read_found, read_injected
from ami_cli.platform_run import (
    environment,
    now,
    start_ingest,
    start_pubsub,
    stored_rows,
    wait_for_ingest,
    with_free_ports,
)
from ami_cli.processes import Supervisor, ami_command
from ami_cli.subscription import ensure_subscription
from ami_cli.terminal import interrupted_by_sigterm, say
from ami_contract.errors import AmiError
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.ledger import Ledger, balance
from simulator.config import SimulationConfig, load_config
from simulator.fleet import build_fleet
from simulator.voltage import forced_sags

CONFIG: Final = Path(__file__).resolve().parent.parent / "simulator" / "configs" / "smoke.yaml"
RUN: Final = timedelta(minutes=2)

_EVERY_S: Final = 5.0
_PARTS: Final = 4
_MARGIN: Final = timedelta(seconds=3)


def run_smoke(settings: Settings) -> None:
    """Run the smoke test; exit status 1 with what failed, and the folder is kept."""
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="ami-smoke-"))
    own = with_free_ports(settings, folder)
    say(f"smoke in {folder}, about 3 minutes; stop with Ctrl-C at any time")
    try:
        with interrupted_by_sigterm():
            problems = _smoke(own, load_config(CONFIG))
    except AmiError as error:
        problems = [str(error)]
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        say("smoke stopped")
        raise
    for problem in problems:
        say(f"FAILED: {problem}")
    if problems:
        say(f"smoke failed after {time.monotonic() - begun:.0f} s; see {folder}")
        raise typer.Exit(1)
    shutil.rmtree(folder)
    say(f"smoke passed in {time.monotonic() - begun:.0f} s")


def _smoke(settings: Settings, simulation: SimulationConfig) -> list[str]:
    logs, variables = settings.data.logs, environment(settings)
    # Meters end by themselves, which the others must not.
    with Supervisor(logs, variables) as platform, Supervisor(logs, variables) as meters:
        start_pubsub(platform, settings)
        ensure_subscription(settings)
        start_ingest(platform)
        start = calm_start(simulation, now())
        if (wait_s := (start - datetime.now(UTC)).total_seconds()) > 0:
            say(f"meters start in {wait_s:.0f} s, so that the forced sag is whole")
            time.sleep(wait_s)
        process = meters.start(
            "simulate",
            ami_command(
                "simulate",
                *("--config", str(CONFIG)),
                *("--from", start.isoformat()),
                *("--duration", f"{RUN.total_seconds():.0f}"),
                *("--truth", str(settings.data.truth)),
            ),
        )
        counts = _watch(platform, settings, process)
        if process.returncode:
            return [f"the meters ended with status {process.returncode}; see {logs}/simulate.log"]
        sent = int(RUN.total_seconds() * simulation.sample_hz) * len(_meters(simulation))
        rows = wait_for_ingest(platform, settings, at_least=sent, timeout_s=30)
        platform.stop("ingest")
    say(f"{received_messages(settings.data)} messages, {rows} rows; building the models")
    outcome = build(settings, None, None)
    if outcome.failures:
        return [f"build: {failure}" for failure in outcome.failures]
    ledger = balance(settings.data, settings.data.truth)
    injected, found = read_injected(settings.data.truth), read_found(settings.data)
    problems = [
        *judge_counts(received_messages(settings.data), counts),
        *judge_ledger(ledger, sent),
        *judge_events(injected, found),
    ]
    if not problems:
        total = ledger.total
        [event] = found
        say(
            f"{total.expected} generated = {total.stored} stored; one sag forced, the same one "
            f"found: {event.meter_id} {event.start_ts:%H:%M:%S} … {event.end_ts:%H:%M:%S} UTC"
        )
    return problems


def _meters(simulation: SimulationConfig) -> list[str]:
    return [meter.meter_id for pole in build_fleet(simulation).poles for meter in pole.meters]


def _watch(platform: Supervisor, settings: Settings, meters: subprocess.Popen[bytes]) -> list[int]:
    """Rows stored, looked at every few seconds until the meters end; raises AmiError."""
    counts: list[int] = []
    begun = shown = time.monotonic()
    deadline = begun + 2 * RUN.total_seconds()
    while meters.poll() is None:
        platform.check()
        if time.monotonic() > deadline:
            raise AmiError(
                f"the meters did not end within {2 * RUN.total_seconds():.0f} s; see "
                f"{settings.data.logs / 'simulate.log'}"
            )
        if time.monotonic() - shown >= _EVERY_S:
            shown = time.monotonic()
            counts.append(stored_rows(settings))
            messages = received_messages(settings.data)
            say(f"{shown - begun:4.0f} s: {messages} messages received, {counts[-1]} rows stored")
        time.sleep(0.2)
    return counts


def received_messages(data: DataDir) -> int:
    """Messages in the archive; each holds one reading as JSON."""
    segments = data.archive.glob("segments/*/*/[!.]*.jsonl")
    return sum(path.read_bytes().count(b"\n") for path in segments)


def calm_start(simulation: SimulationConfig, earliest: datetime) -> datetime:
    """First whole second from `earliest` on at which a run of two minutes cuts no forced sag.

    Forced sags come once per slot at one place of it, so this is half a minute later at most.
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    horizon = earliest + 2 * RUN
    spans = [
        (epoch + timedelta(milliseconds=sag.start_ms), epoch + timedelta(milliseconds=sag.end_ms))
        for pole in build_fleet(simulation).poles
        for sag in forced_sags(simulation, pole, _ms(earliest - RUN), _ms(horizon + RUN))
    ]
    start = earliest
    while start < horizon:
        if not any(
            begins - _MARGIN < edge < ends + _MARGIN
            for edge in (start, start + RUN)
            for begins, ends in spans
        ):
            return start
        start += timedelta(seconds=1)
    raise AmiError(
        f"no run of {RUN.total_seconds():.0f} s without a cut sag; choose a longer "
        f"force_sag_every_s than {simulation.force_sag_every_s:g} s"
    )


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def judge_counts(messages: int, counts: Sequence[int]) -> list[str]:
    """What is wrong with the messages received and with the rows seen while meters ran.

    The rows must rise in every quarter of the run.
    """
    if not messages:
        return ["no message was received"]
    quarters = [(len(counts) - 1) * part // _PARTS for part in range(1, _PARTS + 1)]
    rose = len(counts) >= _PARTS and all(
        before < after for before, after in pairwise([0, *(counts[i] for i in quarters)])
    )
    if not rose:
        seen = ", ".join(map(str, counts)) or "never looked at"
        return [f"the row count did not rise while the meters ran: {seen}"]
    return []


def judge_ledger(ledger: Ledger, sent: int) -> list[str]:
    """What is wrong with the balance where all of `sent` readings must be stored."""
    total = ledger.total
    problems = [f"the ledger does not close: {problem}" for problem in ledger.problems]
    if total.expected != sent:
        problems.append(f"{total.expected} readings were generated, not {sent}")
    if total.stored != total.expected:
        problems.append(f"{total.stored} of {total.expected} readings are stored")
    return problems


def judge_events(injected: list[InjectedRun], found: list[FoundEvent]) -> list[str]:
    """What is wrong with the sags where exactly one was forced."""
    forced = [run for run in injected if run.is_event and run.whole]
    problems = compare_events(injected, found)
    if len(forced) != 1:
        problems.append(f"{len(forced)} whole sags were forced, not one; mend the configuration")
    if len(found) != 1:
        problems.append(f"{len(found)} sags were found, not one")
    return problems
