"""Entry point of Dagster's code location: reads the environment, gives the definitions."""

import os

import dagster as dg

from ami_contract.settings import load_settings
from ami_dagster.build import build_definitions
from ami_store.bigquery import dbt_variables


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions of this deployment."""
    settings = load_settings()
    # dbt runs as a child process in its own folder and must find the same data.
    os.environ.update(dbt_variables(settings))
    if settings.profile == "gcp":
        # What it has parsed differs between warehouses, so runs start from the folder of theirs.
        os.environ["DBT_TARGET_PATH"] = "target/bigquery"
    return build_definitions(settings)
