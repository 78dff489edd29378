"""`ami dbt`: reads settings and dbt's own arguments, runs dbt on the warehouse they name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ami_contract.settings import Settings
from ami_store.bigquery import bigquery_client, check_dataset, dbt_variables

PROJECT_DIR: Final = Path(__file__).resolve().parent.parent / "dbt_ami"
# Commands of dbt that ask no warehouse.
OFFLINE: Final = frozenset({"parse", "ls", "list", "clean", "deps"})


def run_dbt(settings: Settings, arguments: Sequence[str]) -> int:
    """Exit status of dbt run with `arguments` on the warehouse of the profile or of `--target`.

    Raises:
        SettingsError: BigQuery is meant and project, dataset or credentials are missing.
        WarehouseError: BigQuery does not answer or refuses.
    """
    target = target_of(settings, arguments)
    if target == "bigquery" and not OFFLINE.intersection(arguments[:1]):
        check_dataset(bigquery_client(settings), settings)
    places = ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)]
    command = [str(Path(sys.executable).with_name("dbt")), *arguments, *places]
    if not _is_given("--target", arguments) and not _is_given("-t", arguments):
        command += ["--target", target]
    if target == "bigquery" and not _is_given("--target-path", arguments):
        # Dagster reads the manifest in `target`, which is DuckDB's.
        command += ["--target-path", str(PROJECT_DIR / "target" / "bigquery")]
    environment = {**os.environ, **dbt_variables(settings)}
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603


def target_of(settings: Settings, arguments: Sequence[str]) -> str:
    """Name of the dbt target: `--target` or `-t`, else what the profile works on."""
    for number, argument in enumerate(arguments):
        if argument in ("--target", "-t") and number + 1 < len(arguments):
            return arguments[number + 1]
        if argument.startswith("--target="):
            return argument.removeprefix("--target=")
    return "bigquery" if settings.profile == "gcp" else "duckdb"


def _is_given(option: str, arguments: Sequence[str]) -> bool:
    return any(one == option or one.startswith(f"{option}=") for one in arguments)
