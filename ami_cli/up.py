"""`ami up`: reads settings, gives the whole platform running, each part restarted when it dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from ami_cli.platform_run import (
    check_ports,
    environment,
    platform_lock,
    start_api,
    start_daemon,
    start_dashboard,
    start_ingest,
    start_pubsub,
    start_webserver,
    wait_for_api,
    wait_for_dagster,
    wait_for_dashboard,
)
from ami_cli.processes import Supervisor, only_one, undisturbed
from ami_cli.reloading import Reload
from ami_cli.terminal import Working, interrupted_by_sigterm, say
from ami_contract.settings import Settings

_POLL_S: Final = 0.5


def run_up(settings: Settings) -> None:
    """Pub/Sub, ingest, Dagster, the API and the dashboard until stopped.

    Raises:
        SettingsError: it runs already, or a port is taken.
        AmiError: a part of it did not start; the message names its log.
    """
    with platform(settings) as supervisor:
        reload = Reload(settings)
        start_webserver(supervisor, settings)
        start_pubsub(supervisor, settings)
        start_ingest(supervisor)
        start_api(supervisor, settings)
        start_dashboard(supervisor)
        url = wait_shown(supervisor, settings)
        api_url = wait_for_api(supervisor, settings)
        dashboard_url = wait_for_dashboard(supervisor, settings)
        start_daemon(supervisor, settings)
        click.echo(
            f"dashboard     {dashboard_url}\n"
            f"Dagster UI    {url}\n"
            f"API           {api_url}/poles, ask with `ami query`\n"
            f"Pub/Sub       {settings.emulator_host}, topic {settings.pubsub_topic}\n"
            f"data and logs {settings.data_dir}\n"
            "publish with `ami simulate`; stop with Ctrl-C"
        )
        until_stopped(supervisor, reload)


@contextmanager
def platform(settings: Settings) -> Iterator[Supervisor]:
    """A supervisor for one data folder; Ctrl-C or SIGTERM at any time stops all it started."""
    lock = platform_lock(settings)
    with (
        interrupted_by_sigterm(),
        only_one(lock, "the platform"),
        Supervisor(settings.data.logs, environment(settings), mark=str(lock)) as supervisor,
    ):
        if left := supervisor.end_leftovers():
            say(f"ended {len(left)} processes of a platform that was killed")
        check_ports(settings)
        try:
            yield supervisor
        except KeyboardInterrupt:
            with undisturbed():
                say("stopping …")
                # Meters first, so that the ingest can still store their last readings.
                supervisor.stop("simulate")
                supervisor.stop_all()
    say(f"stopped; the data stays in {settings.data_dir}")


def wait_shown(supervisor: Supervisor, settings: Settings) -> str:
    """Wait for Dagster with a spinner; returns the address of its UI."""
    with Working("starting Dagster"):
        return wait_for_dagster(supervisor, settings)


def until_stopped(supervisor: Supervisor, reload: Reload) -> None:
    """Tend the processes until Ctrl-C; raises AmiError when one that must not end has ended."""
    while True:
        time.sleep(_POLL_S)
        supervisor.tend(say)
        reload.look(supervisor, say)
