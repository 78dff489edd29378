"""Dagster resources: read plain values, give assets the lake and the clock."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from ami_contract.lake import DataDir


class Lake(dg.ConfigurableResource):
    """Where this deployment's data lies.

    Attributes:
        data_dir: absolute path of the data folder.
        removal_grace_s: replaced files stay this long, in seconds.
    """

    data_dir: str
    removal_grace_s: float = 900.0

    @property
    def data(self) -> DataDir:
        """Paths below the data folder."""
        return DataDir(Path(self.data_dir))

    @property
    def child_environment(self) -> dict[str, str]:
        """Environment for an `ami` command over the same data."""
        return {**os.environ, "AMI_DATA_DIR": self.data_dir}

    @property
    def removal_grace(self) -> timedelta:
        """`removal_grace_s` as a duration."""
        return timedelta(seconds=self.removal_grace_s)

    def now(self) -> datetime:
        """UTC wall clock."""
        return datetime.now(UTC)
