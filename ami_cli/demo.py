"""`ami demo` and `ami up`: read settings, give the whole platform running until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from ami_cli.building import build
from ami_cli.platform_run import (
    check_ports,
    environment,
    last_truth_end,
    now,
    start_dagster,
    start_ingest,
    start_pubsub,
    stored_rows,
    wait_for_dagster,
    wait_for_ingest,
)
from ami_cli.processes import Supervisor, ami_command, only_one
from ami_cli.simulation import SimulationOrder, run_simulation
from ami_cli.terminal import Working, interrupted_by_sigterm, say
from ami_contract.errors import AmiError
from ami_contract.settings import Settings

HISTORY: Final = timedelta(hours=3)
_POLL_S: Final = 1.0


def run_up(settings: Settings) -> None:
    """Pub/Sub, ingest and Dagster until stopped.

    Raises:
        SettingsError: it runs already, or a port is taken.
        AmiError: a part of it failed; the message names its log.
    """
    with _platform(settings) as supervisor:
        start_pubsub(supervisor, settings)
        start_ingest(supervisor)
        start_dagster(supervisor, settings)
        url = _shown("starting Dagster", lambda: wait_for_dagster(supervisor, settings))
        click.echo(
            f"Dagster UI    {url}\n"
            f"Pub/Sub       {settings.emulator_host}, topic {settings.pubsub_topic}\n"
            f"data and logs {settings.data_dir}\n"
            "publish with `ami simulate`; stop with Ctrl-C"
        )
        _until_stopped(supervisor)


def run_demo(settings: Settings, config: Path) -> None:
    """The platform with simulated history and live meters, until stopped.

    Raises:
        SettingsError: it runs already, or a port is taken.
        AmiError: a part of it failed; the message names its log.
    """
    with _platform(settings) as supervisor:
        say(f"demo in {settings.data_dir}; stop with Ctrl-C at any time")
        start_pubsub(supervisor, settings)
        start_ingest(supervisor)
        _write_history(supervisor, settings, config)
        start = last_truth_end(settings.data.truth) or now()
        live = ["--config", str(config), "--from", start.isoformat()]
        supervisor.start(
            "simulate", ami_command("simulate", *live, "--truth", str(settings.data.truth))
        )
        say("3/4 building the warehouse through Dagster")
        outcome = build(settings, None, None)
        if outcome.failures:
            raise AmiError(f"the build failed: {outcome.failures[0]}")
        say("4/4 starting Dagster")
        start_dagster(supervisor, settings)
        url = _shown("starting Dagster", lambda: wait_for_dagster(supervisor, settings))
        click.echo(_what_to_see(url, settings))
        _until_stopped(supervisor)


@contextmanager
def _platform(settings: Settings) -> Iterator[Supervisor]:
    """A supervisor for one data folder; Ctrl-C or SIGTERM at any time stops all it started."""
    with (
        interrupted_by_sigterm(),
        only_one(settings.data.run / "platform.lock", "the platform"),
        Supervisor(settings.data.logs, environment(settings)) as supervisor,
    ):
        check_ports(settings)
        try:
            yield supervisor
        except KeyboardInterrupt:
            say("stopping …")
            # Meters first, so that the ingest can still store their last readings.
            supervisor.stop("simulate")
    say(f"stopped; the data stays in {settings.data_dir}")


def _write_history(supervisor: Supervisor, settings: Settings, config: Path) -> None:
    end = now()
    # After an earlier demo in the same folder only what is missing since then.
    start = max(end - HISTORY, last_truth_end(settings.data.truth) or end - HISTORY)
    if start >= end:
        return
    minutes = (end - start).total_seconds() / 60
    say(f"1/4 simulating {minutes:.0f} minutes of history")
    before = stored_rows(settings)
    summary = run_simulation(
        settings,
        SimulationOrder(
            config=config,
            speed="max",
            start=start,
            end=end,
            truth=settings.data.truth,
        ),
    )
    assert summary is not None
    if summary.stopped_early:
        raise KeyboardInterrupt
    say("2/4 ingesting it")
    with Working("ingesting") as working:
        rows = wait_for_ingest(
            supervisor,
            settings,
            at_least=before + summary.published,
            timeout_s=120,
            report=lambda rows: working.now(f"ingesting: {rows:,} rows stored"),
        )
    say(f"{rows:,} rows in the lake")


def _shown(what: str, action: Callable[[], str]) -> str:
    with Working(what):
        return action()


def _until_stopped(supervisor: Supervisor) -> None:
    while True:
        time.sleep(_POLL_S)
        supervisor.check()


def _what_to_see(url: str, settings: Settings) -> str:
    return f"""
The platform runs: 20 meters on 4 poles report every second.

  lineage        {url}/asset-groups    (Alt+E expands all groups)
  hours          {url}/assets/compacted_readings    which hours are there
  sags           {url}/assets/voltage_events    checks, rows, code
  runs           {url}/runs    one every 5 minutes

In another terminal, from this folder:

  .venv/bin/ami sql "select meter_id, start_ts, duration_s, min_voltage_v, severity, scope
                     from voltage_events order by start_ts desc limit 10"
  .venv/bin/ami sql "select pole_id, hour_ts, score, pct_low, energy_kwh from pole_health_hourly"
  .venv/bin/ami ledger       # expected = stored + dead-lettered + lost + not sampled
  .venv/bin/ami build        # what has come since, now and not at the next tick

Data and logs are in {settings.data_dir}. Ctrl-C stops everything; then
`.venv/bin/ami ledger --truth {settings.data.truth}` checks it against what was simulated.
"""  # noqa: S608
