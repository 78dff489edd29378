"""`ami pubsub`: reads settings, gives a running embedded Pub/Sub."""

from __future__ import annotations

import click

from ami_cli.subscription import ensure_subscription
from ami_contract.settings import Settings
from local_pubsub.server import serve_forever


def run_pubsub(settings: Settings, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; raises TransportError when port or journal is taken."""

    def ready(endpoint: str) -> None:
        ensure_subscription(settings, endpoint)
        click.echo(
            f"Pub/Sub ready at {endpoint}, journal in {settings.data.pubsub}\n"
            f"other clients: export PUBSUB_EMULATOR_HOST={endpoint}"
        )

    serve_forever(settings.data.pubsub, port, ready)
    click.echo("Pub/Sub stopped; what was not acknowledged is kept")
