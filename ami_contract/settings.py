"""Settings: every knob that comes from the environment (`AMI_…`) or `.env`, read once.

Entry points build `Settings` and hand values on; no other module reads the environment.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir

ALERT_CHANNELS: Final = ("log", "webhook", "slack", "email")
_NEEDED_BY_CHANNEL: Final = {
    "webhook": ("alert_webhook_url",),
    "slack": ("alert_slack_token", "alert_slack_channel"),
    "email": ("alert_email_host", "alert_email_from", "alert_email_to"),
}


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
    bigquery_first_day: date = Field(
        date(2026, 1, 1),
        description="First UTC day of the readings in BigQuery; Dagster's partitions start there.",
    )
    archive_bucket: str = Field(
        "", description="GCS bucket of the raw archive, in the profile gcp; with or without gs://."
    )
    dataflow_region: str = Field("us-central1", description="Region of the Dataflow job.")
    dataflow_job_name: str = Field("ami-ingest", description="Name of the Dataflow job.")
    dataflow_temp_location: str = Field(
        "", description="gs://BUCKET/FOLDER for what a launch of the Dataflow job stages."
    )
    dataflow_service_account: str = Field(
        "", description="Service account of the Dataflow workers; empty: the project's default."
    )
    dataflow_subnetwork: str = Field(
        "",
        description="Subnetwork of the Dataflow workers, which then have no public addresses; "
        "empty: the default one.",
    )
    dataflow_max_workers: int = Field(
        2, ge=1, le=1000, description="Most Dataflow workers at a time."
    )
    dataflow_dead_letter_topic: str = Field(
        "",
        description="Topic of the Dataflow job's dead letters, its short name; empty: files in "
        "the archive's bucket.",
    )
    dataflow_lag_limit_s: float = Field(
        600.0, gt=0, description="A Dataflow job with a longer system lag is stale, in seconds."
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
    dagster_postgres_url: SecretStr = Field(
        SecretStr(""),
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
    retention_archive_days: int = Field(
        0, ge=0, description="Days that the raw archive is kept; 0: for ever."
    )
    retention_dead_letter_days: int = Field(
        0, ge=0, description="Days that refused payloads are kept; 0: for ever."
    )
    retention_quarantine_days: int = Field(
        0, ge=0, description="Days that damaged landed files are kept; 0: for ever."
    )
    retention_copies_days: int = Field(
        0, ge=0, description="Days that copies taken out of readings are kept; 0: for ever."
    )
    retention_runs_days: int = Field(
        0,
        ge=0,
        description="Days that Dagster keeps ended runs that no partition needs; 0: for ever.",
    )
    silent_warn_s: float = Field(
        600.0, gt=0, description="A meter or pole without newer readings is silent, in seconds."
    )
    silent_error_s: float = Field(
        3600.0,
        gt=0,
        le=86_400,
        description="A pole silent for longer fails its check as an error, in seconds.",
    )
    arrival_limit_s: float = Field(
        300.0, gt=0, description="A Pub/Sub message that waits longer is late, in seconds."
    )
    alert_channels: str = Field(
        "log", description=f"Where alerts go, comma-separated: {', '.join(ALERT_CHANNELS)}."
    )
    alert_timeout_s: float = Field(
        5.0, gt=0, le=8, description="Longest wait for an alert channel, in seconds."
    )
    alert_webhook_url: SecretStr = Field(
        SecretStr(""), description="Address that alerts are POSTed to as JSON; http or https."
    )
    alert_slack_token: SecretStr = Field(
        SecretStr(""), description="Token of the Slack app that posts alerts."
    )
    alert_slack_channel: str = Field("", description="Slack channel of the alerts, e.g. #grid.")
    alert_email_host: str = Field("", description="SMTP server that takes the alerts.")
    alert_email_port: int = Field(465, ge=1, le=65535, description="Port of the SMTP server.")
    alert_email_security: Literal["ssl", "starttls", "none"] = Field(
        "ssl", description="How the SMTP connection is secured: ssl, starttls or none."
    )
    alert_email_from: str = Field("", description="Sender of the alerts.")
    alert_email_to: str = Field("", description="Recipients of the alerts, comma-separated.")
    alert_email_user: str = Field("", description="SMTP user; empty: the sender.")
    alert_email_password: SecretStr = Field(
        SecretStr(""), description="SMTP password; empty: no login."
    )

    api_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address the API listens on; any other than loopback needs keys or Google's "
        "identities.",
    )
    api_port: int = Field(8000, ge=1, le=65535, description="Port of the API.")
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys that open the API, comma-separated, 16 characters or longer each.",
    )
    api_google_audience: str = Field(
        "", description="Audience of the Google-signed identity tokens that the API takes."
    )
    api_google_emails: str = Field(
        "", description="Who may use the API by such a token: e-mail addresses, comma-separated."
    )
    api_cors_origins: str = Field(
        "", description="Origins whose pages may call the API, comma-separated; empty: none."
    )
    api_requests_per_s: float = Field(
        500.0, ge=0, description="Requests per second that a client may make; 0: without limit."
    )
    api_max_body_bytes: int = Field(
        65_536, ge=1024, description="A request with a longer body is refused, in bytes."
    )
    api_query_threads: int = Field(
        4, ge=1, le=64, description="Queries that the API runs side by side."
    )
    api_query_timeout_s: float = Field(
        10.0, gt=0, le=300, description="A query that takes longer is given up, in seconds."
    )
    api_cache_bytes: int = Field(
        64 * 1024**2, ge=0, description="Memory for answers that are kept per snapshot, in bytes."
    )
    api_ready_max_age_s: float = Field(
        0.0,
        ge=0,
        description="/ready fails when the published warehouse is older, in seconds; 0: never.",
    )
    api_live_tail_s: float | None = Field(
        None,
        ge=0,
        description="How old events that no build has seen may be told, in seconds; 0: they are "
        "not told; empty: 2 locally, 0 on BigQuery, where each look costs.",
    )
    api_access_log: bool = Field(True, description="Whether the API logs a line per request.")
    api_url: str = Field(
        "",
        description="Address of the API that `ami query` and the dashboard ask; empty: "
        "AMI_API_PORT here.",
    )
    api_key: SecretStr = Field(
        SecretStr(""),
        description="Key that `ami query` and the dashboard send; empty: the first of "
        "AMI_API_KEYS.",
    )
    dashboard_port: int = Field(8501, ge=1, le=65535, description="Loopback port of the dashboard.")

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
    def _names_its_driver(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith("postgresql+psycopg2://"):
            raise ValueError("a URL postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE")
        return value

    @field_validator("alert_channels")
    @classmethod
    def _known_channels(cls, value: str) -> str:
        if unknown := set(_words(value)) - set(ALERT_CHANNELS):
            raise ValueError(
                f"{', '.join(sorted(unknown))}: no alert channel; there are "
                f"{', '.join(ALERT_CHANNELS)}"
            )
        return value

    @field_validator("alert_webhook_url")
    @classmethod
    def _http(cls, value: SecretStr) -> SecretStr:
        address = value.get_secret_value()
        if address:
            parts = urlsplit(address)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("an address that starts with http:// or https://")
        return value

    @field_validator("api_keys")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if any(len(key) < 16 for key in _words(value.get_secret_value())):
            raise ValueError("keys of 16 characters or more, comma-separated")
        return value

    @model_validator(mode="after")
    def _google_identities_are_named(self) -> Settings:
        if bool(self.api_google_audience) != bool(_words(self.api_google_emails)):
            # Anybody can have Google sign a token for any audience.
            raise ValueError("AMI_API_GOOGLE_AUDIENCE and AMI_API_GOOGLE_EMAILS need each other")
        return self

    @model_validator(mode="after")
    def _channels_are_complete(self) -> Settings:
        for channel in self.alert_channel_names:
            for name in _NEEDED_BY_CHANNEL.get(channel, ()):
                value = getattr(self, name)
                if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
                    raise ValueError(
                        f"AMI_ALERT_CHANNELS names {channel}, which needs AMI_{name.upper()}"
                    )
        if self.silent_error_s < self.silent_warn_s:
            raise ValueError("AMI_SILENT_ERROR_S must not be below AMI_SILENT_WARN_S")
        return self

    @property
    def subscription_path(self) -> str:
        """Full name of the subscription."""
        return f"projects/{self.project_id}/subscriptions/{self.pubsub_subscription}"

    @property
    def archive_bucket_name(self) -> str:
        """Name of `archive_bucket`, without gs://."""
        return self.archive_bucket.removeprefix("gs://").rstrip("/")

    @property
    def alert_channel_names(self) -> tuple[str, ...]:
        """Channels of `alert_channels`, each once."""
        return tuple(dict.fromkeys(_words(self.alert_channels)))

    @property
    def alert_recipients(self) -> tuple[str, ...]:
        """Recipients of `alert_email_to`."""
        return tuple(_words(self.alert_email_to))

    @property
    def api_key_list(self) -> tuple[str, ...]:
        """Keys of `api_keys`; never to be logged."""
        return tuple(_words(self.api_keys.get_secret_value()))

    @property
    def api_google_email_list(self) -> tuple[str, ...]:
        """Addresses of `api_google_emails`, in lower case."""
        return tuple(word.lower() for word in _words(self.api_google_emails))

    @property
    def api_cors_origin_list(self) -> tuple[str, ...]:
        """Origins of `api_cors_origins`."""
        return tuple(_words(self.api_cors_origins))

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
        if not first["loc"]:
            # Settings that contradict each other; the input is all of them, secrets too.
            raise SettingsError(first["msg"].removeprefix("Value error, ")) from None
        name = str(first["loc"][0])
        variable = name if name.isupper() else f"AMI_{name.upper()}"
        field = Settings.model_fields.get(name)
        if field is not None and field.annotation is SecretStr:
            raise SettingsError(f"{variable}: {first['msg']}") from None
        raise SettingsError(f"{variable}={first['input']!r}: {first['msg']}") from error


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
