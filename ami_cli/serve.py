"""`ami pubsub`: reads settings, gives a running embedded Pub/Sub."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import click

from ami_cli.subscription import ensure_subscription
from ami_contract.errors import LakeError
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.backlog import Backlog, write_backlogs
from local_pubsub.broker import BrokerCounters
from local_pubsub.server import serve_forever

log = logging.getLogger("ami.pubsub")


def run_pubsub(settings: Settings, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; raises TransportError when port or journal is taken."""

    def ready(endpoint: str) -> None:
        ensure_subscription(settings, endpoint)
        click.echo(
            f"Pub/Sub ready at {endpoint}, journal in {settings.data.pubsub}\n"
            f"other clients: export PUBSUB_EMULATOR_HOST={endpoint}"
        )

    serve_forever(
        settings.data.pubsub, port, ready, tell=lambda counters: _tell(settings.data, counters)
    )
    click.echo("Pub/Sub stopped; what was not acknowledged is kept")


def _tell(data: DataDir, counters: BrokerCounters) -> None:
    """Leave for the alerts what waits in every subscription."""
    at = datetime.now(UTC)
    try:
        write_backlogs(
            data,
            {
                name: Backlog(at, found.backlog, found.outstanding, found.oldest_unacked_age_s)
                for name, found in counters.subscriptions.items()
            },
        )
    except LakeError as error:
        # Serving goes on; the next round tries again.
        log.warning("%s", error)
