"""`ami pubsub` and `ami dagster`: read settings, give one running part of the platform."""

from __future__ import annotations

import os

import click

from ami_cli.instance import prepare_instance
from ami_cli.platform_run import CODE_SERVER, DAEMON, WEBSERVER, dagster_command, environment
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings


def run_pubsub(settings: Settings, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; raises TransportError when port or journal is taken."""
    from ami_cli.subscription import ensure_subscription
    from local_pubsub.server import serve_forever

    def ready(endpoint: str) -> None:
        ensure_subscription(settings, endpoint)
        click.echo(
            f"Pub/Sub ready at {endpoint}, journal in {settings.data.pubsub}\n"
            f"other clients: export PUBSUB_EMULATOR_HOST={endpoint}"
        )

    serve_forever(settings.data.pubsub, port, ready)
    click.echo("Pub/Sub stopped; what was not acknowledged is kept")


def run_dagster(settings: Settings, part: str) -> None:
    """Become Dagster's code server, webserver or daemon; raises SettingsError for other parts."""
    parts = (CODE_SERVER, WEBSERVER, DAEMON)
    if part not in parts:
        raise SettingsError(f"{part!r} is no part of Dagster; take one of {', '.join(parts)}")
    prepare_instance(settings)
    command = dagster_command(part, settings)
    os.execve(command[0], command, {**os.environ, **environment(settings)})  # noqa: S606
