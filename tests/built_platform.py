"""A platform that was built once, as fixtures hand it out."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_dagster.local_run import Outcome


@dataclass(frozen=True)
class Built:
    """A built platform: where, with which definitions, and what the build said."""

    data: DataDir
    settings: Settings
    definitions: dg.Definitions
    outcome: Outcome
    lines: list[str]
