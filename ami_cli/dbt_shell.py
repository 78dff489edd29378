"""`ami dbt`: reads settings and dbt's own arguments, runs dbt on the warehouse they name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ami_contract.errors import SettingsError, WarehouseError
from ami_contract.settings import Settings

if TYPE_CHECKING:
    from google.cloud.bigquery import Client

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


def dbt_variables(settings: Settings) -> dict[str, str]:
    """Environment variables that `dbt_ami/profiles.yml` reads."""
    return {
        "AMI_DATA_DIR": str(settings.data_dir),
        "AMI_PROJECT_ID": settings.project_id,
        "AMI_BIGQUERY_DATASET": settings.bigquery_dataset,
        "AMI_BIGQUERY_LOCATION": settings.bigquery_location,
        "AMI_BIGQUERY_MAXIMUM_BYTES_BILLED": str(settings.bigquery_maximum_bytes_billed),
        "AMI_BIGQUERY_SERVICE_ACCOUNT": settings.bigquery_service_account,
    }


def bigquery_client(settings: Settings) -> Client:
    """Client of the warehouse's project.

    Raises:
        SettingsError: no project is named, or there are no credentials.
    """
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import bigquery

    if settings.project_id == Settings.model_fields["project_id"].default:
        raise SettingsError(
            "AMI_PROJECT_ID names no Google Cloud project; set it to the warehouse's project"
        )
    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/bigquery"])
    except DefaultCredentialsError as error:
        raise SettingsError(
            "no Google credentials found; run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to a key file"
        ) from error
    return bigquery.Client(project=settings.project_id, credentials=credentials)


def check_dataset(client: Client, settings: Settings) -> None:
    """Ask BigQuery for the dataset of the readings.

    Raises:
        SettingsError: there is no such dataset.
        WarehouseError: BigQuery does not answer, or these credentials may not see it.
    """
    from google.api_core.exceptions import GoogleAPIError, NotFound
    from google.auth.exceptions import GoogleAuthError

    name = f"{settings.project_id}.{settings.bigquery_dataset}"
    try:
        client.get_dataset(name, retry=None, timeout=30)
    except NotFound as error:
        raise SettingsError(
            f"BigQuery dataset {name} does not exist; set AMI_BIGQUERY_DATASET, or make it with "
            f"`bq mk --location={settings.bigquery_location} --dataset {name.replace('.', ':')}`"
        ) from error
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        reason = " ".join(str(error).split())
        raise WarehouseError(f"BigQuery dataset {name} cannot be read: {reason}") from error


def _is_given(option: str, arguments: Sequence[str]) -> bool:
    return any(one == option or one.startswith(f"{option}=") for one in arguments)
