"""Simulated field: from a configuration and a seed to meters, gateways and published readings.

Gives a fleet registry, readings that follow from (configuration, seed, time) alone, the messages a
gateway makes of them, and the ground truth of everything that was injected on the way.
"""

from simulator.config import SimulationConfig, describe_config, load_config
from simulator.fleet import registry_table
from simulator.publisher import CollectingPublisher, Publisher, PubSubPublisher, StdoutPublisher
from simulator.run import Progress, Summary, simulate

__all__ = [
    "CollectingPublisher",
    "Progress",
    "PubSubPublisher",
    "Publisher",
    "SimulationConfig",
    "StdoutPublisher",
    "Summary",
    "describe_config",
    "load_config",
    "registry_table",
    "simulate",
]
