"""Settings: every knob that comes from the environment (`AMI_…`) or `.env`, read once.

Entry points build `Settings` and hand values on; no other module reads the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir


class Settings(BaseSettings):
    """All settings with their defaults; a variable is `AMI_` and the name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="AMI_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    profile: Literal["local", "gcp"] = Field(
        "local", description="local: everything on this machine; gcp: Google Cloud."
    )
    data_dir: Path = Field(
        Path(".ami"), description="Folder that holds everything a local run writes."
    )
    project_id: str = Field(
        "ami-local", description="Google Cloud project; any name serves the embedded Pub/Sub."
    )
    bigquery_dataset: str = Field(
        "smart_grid_analytics",
        description="BigQuery dataset of the stored readings and of all that dbt builds.",
    )
    bigquery_location: str = Field("US", description="Location of the BigQuery dataset.")
    bigquery_maximum_bytes_billed: int = Field(
        100 * 1024**3, ge=1, description="A BigQuery query that would bill more bytes fails."
    )
    bigquery_service_account: str = Field(
        "", description="Service account that dbt acts as on BigQuery; empty: your own credentials."
    )
    pubsub_topic: str = Field("ami-meter-data", description="Topic of the readings.")
    pubsub_subscription: str = Field(
        "ami-meter-data-sub", description="Subscription that the ingest pulls."
    )
    pubsub_emulator_host: str = Field(
        "",
        description="host:port of another Pub/Sub emulator; empty: the embedded one.",
        validation_alias=AliasChoices("AMI_PUBSUB_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"),
    )
    pubsub_port: int = Field(8085, ge=1, le=65535, description="Port of the embedded Pub/Sub.")
    dagster_port: int = Field(3000, ge=1, le=65535, description="Port of the Dagster UI.")
    code_server_port: int = Field(
        4000, ge=1, le=65535, description="Loopback port of the server that loads the definitions."
    )
    dagster_postgres_url: str = Field(
        "",
        description="postgresql+psycopg2://… that keeps Dagster's runs; empty: SQLite files.",
    )
    dagster_log_bucket: str = Field(
        "",
        description="GCS bucket of the runs' stdout and stderr, with PostgreSQL; empty: files.",
    )
    ingest_max_messages: int = Field(
        5000, ge=1, description="Most messages in one micro-batch of the local ingest."
    )
    ingest_max_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="Most payload bytes in one micro-batch."
    )
    ingest_max_wait_s: float = Field(
        1.0, gt=0, le=60, description="Longest time a micro-batch collects, in seconds."
    )
    ingest_metrics_port: int = Field(
        0, ge=0, le=65535, description="Loopback port of the ingest's Prometheus metrics; 0: none."
    )
    ingest_workers: int = Field(
        2, ge=1, le=64, description="Micro-batches that the local ingest handles side by side."
    )
    max_payload_bytes: int = Field(
        8 * 1024 * 1024,
        ge=1024,
        description="A larger payload is dead-lettered unread, in bytes.",
    )
    max_decoded_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        description="A compressed payload that stands for more is dead-lettered, in bytes.",
    )
    archive_minutes: Literal[1, 5] = Field(
        5, description="Minutes of event_ts that share a file of the raw archive: 1 or 5."
    )
    archive_gzip: bool = Field(False, description="Gzip the JSON Lines of the raw archive.")
    removal_grace_s: float = Field(
        900.0,
        ge=0,
        description="Replaced lake files stay this long for running readers, in seconds.",
    )

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        folder = value.expanduser().absolute()
        if any(character in str(folder) for character in "*?["):
            raise ValueError("a folder without *, ? and [, which some readers take for patterns")
        return folder

    @field_validator("archive_minutes", mode="before")
    @classmethod
    def _as_number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.strip().isdecimal() else value

    @field_validator("dagster_postgres_url")
    @classmethod
    def _names_its_driver(cls, value: str) -> str:
        if value and not value.startswith("postgresql+psycopg2://"):
            raise ValueError("a URL postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE")
        return value

    @property
    def data(self) -> DataDir:
        """Paths below `data_dir`."""
        return DataDir(self.data_dir)

    @property
    def emulator_host(self) -> str:
        """host:port that Google's clients use in the local profile."""
        return self.pubsub_emulator_host or f"127.0.0.1:{self.pubsub_port}"


def load_settings(**overrides: object) -> Settings:
    """Settings from environment, `.env` and `overrides` (which win).

    Raises:
        SettingsError: naming the variable, the value and what is allowed.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        variable = name if name.isupper() else f"AMI_{name.upper()}"
        raise SettingsError(f"{variable}={first['input']!r}: {first['msg']}") from error
