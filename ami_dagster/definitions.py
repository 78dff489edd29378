"""Entry point of Dagster's code location: reads the environment, gives the definitions."""

import os

import dagster as dg

from ami_contract.settings import load_settings
from ami_dagster.build import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions of this deployment."""
    settings = load_settings()
    # dbt runs as a child process in its own folder and must find the same data.
    os.environ["AMI_DATA_DIR"] = str(settings.data_dir)
    return build_definitions(settings)
