"""The warehouse in the cloud: reads settings, gives BigQuery's client and what dbt is told of it.

Google's libraries load when they are needed: importing them costs seconds that a local run saves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ami_contract.errors import SettingsError, WarehouseError
from ami_contract.settings import Settings

if TYPE_CHECKING:
    from google.cloud.bigquery import Client


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
