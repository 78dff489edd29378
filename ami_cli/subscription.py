"""The subscription on an emulator: reads settings, gives topic and subscription that exist.

On Google Cloud Terraform makes them. Locally whoever comes first does, because Pub/Sub drops what
is published before there is a subscription.
"""

from __future__ import annotations

from ami_contract.settings import Settings
from beam_jobs.source import PubSubSource


def open_source(settings: Settings, emulator_host: str | None = None) -> PubSubSource:
    """The subscription of these settings, made when it is absent on an emulator.

    Args:
        settings: names and profile.
        emulator_host: instead of the settings' own.

    Raises:
        TransportError: nobody answers at the address.
    """
    host = (emulator_host or settings.emulator_host) if settings.profile == "local" else None
    source = PubSubSource(
        settings.project_id, settings.pubsub_topic, settings.pubsub_subscription, host
    )
    source.ensure()
    return source


def ensure_subscription(settings: Settings, emulator_host: str | None = None) -> None:
    """Make topic and subscription where they are absent; raises TransportError."""
    open_source(settings, emulator_host).close()
