"""dbt-duckdb plugin: reads the committed state of the lake, gives dbt its sources as views.

Runs whenever dbt opens the warehouse, from Dagster or from a shell. The lake is found from the
warehouse's own path (`<data>/warehouse/warehouse.duckdb`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin

from ami_contract.lake import DataDir
from ami_store.views import create_lake_views


class Plugin(BasePlugin):
    """Creates the schema `lake` when dbt connects."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Remember where the lake lies."""
        assert self.creds is not None
        self._data = DataDir(Path(self.creds.path).absolute().parent.parent)

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:
        """Make the warehouse's folder before DuckDB opens the file in it."""
        self._data.warehouse.parent.mkdir(parents=True, exist_ok=True)

    def configure_connection(self, conn: Any) -> None:
        """Create the views on a new connection."""
        create_lake_views(conn, self._data)
