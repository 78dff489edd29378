"""`ami demo`: reads settings, gives the whole platform on simulated meters until Ctrl-C."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from ami_cli.building import build
from ami_cli.platform_run import (
    last_truth_end,
    now,
    start_api,
    start_daemon,
    start_dashboard,
    start_ingest,
    start_pubsub,
    start_webserver,
    stored_rows,
    wait_for_api,
    wait_for_dashboard,
    wait_for_ingest,
)
from ami_cli.processes import Supervisor, ami_command
from ami_cli.reloading import Reload
from ami_cli.simulation import SimulationOrder, run_simulation
from ami_cli.terminal import Working, say
from ami_cli.up import platform, until_stopped, wait_shown
from ami_contract.errors import AmiError
from ami_contract.settings import Settings

HISTORY: Final = timedelta(hours=3)


def run_demo(settings: Settings, config: Path) -> None:
    """The platform with simulated history and live meters, until stopped.

    Raises:
        SettingsError: it runs already, or a port is taken.
        AmiError: a part of it failed; the message names its log.
    """
    with platform(settings) as supervisor:
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
        reload = Reload(settings)
        start_webserver(supervisor, settings)
        start_api(supervisor, settings)
        start_dashboard(supervisor)
        url = wait_shown(supervisor, settings)
        api_url = wait_for_api(supervisor, settings)
        dashboard_url = wait_for_dashboard(supervisor, settings)
        start_daemon(supervisor, settings)
        click.echo(_what_to_see(url, api_url, dashboard_url, settings))
        until_stopped(supervisor, reload)


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


def _what_to_see(url: str, api_url: str, dashboard_url: str, settings: Settings) -> str:
    return f"""
The platform runs: 20 meters on 4 poles report every second.

  dashboard      {dashboard_url}    the fleet; /event: a sag second by second
  lineage        {url}/asset-groups    (Alt+E expands all groups)
  hours          {url}/assets/compacted_readings    which hours are there
  sags           {url}/assets/voltage_events    checks, rows, code
  runs           {url}/runs    one every 5 minutes
  API            {api_url}/poles    /anomalies, /openapi.json

In another terminal, from this folder:

  .venv/bin/ami sql "select meter_id, start_ts, duration_s, min_voltage_v, severity, scope
                     from voltage_events order by start_ts desc limit 10"
  .venv/bin/ami sql "select pole_id, hour_ts, score, pct_low, energy_kwh from pole_health_hourly"
  .venv/bin/ami query anomalies --limit 10    # the same through the API
  .venv/bin/ami ledger       # expected = stored + dead-lettered + lost + not sampled
  .venv/bin/ami build        # what has come since, now and not at the next tick

Data and logs are in {settings.data_dir}. Ctrl-C stops everything; then
`.venv/bin/ami ledger --truth {settings.data.truth}` checks it against what was simulated.
"""  # noqa: S608
