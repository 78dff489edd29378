"""Reads measured rates, settings and Google's quotas; gives how many meters each of them takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ami_contract.settings import Settings
from ami_cost.measured import Encoding, Measured, WriteMethod, message_bytes, row_bytes
from ami_cost.model import (
    LARGEST_STATEMENT_BYTES,
    SURVEY_METERS,
    TARGET_LOAD,
    WORKER_CORES,
    Scenario,
)

MAX_WORKERS: Final = 2
"""Default of Terraform's dataflow_max_workers."""
MAX_WORKERS_TAKEN: Final = 1000
"""Most that dataflow_max_workers takes."""
SUBNET_ADDRESSES: Final = 1020
"""Addresses of subnetwork_cidr's default /22 without Google's four."""

PUBSUB_QUOTAS: Final = "https://cloud.google.com/pubsub/quotas"
BIGQUERY_QUOTAS: Final = "https://cloud.google.com/bigquery/quotas"
DATAFLOW_QUOTAS: Final = "https://cloud.google.com/dataflow/quotas"


@dataclass(frozen=True)
class Limit:
    """Something that ends at a number of meters.

    Attributes:
        name: what it is.
        value: with its unit.
        meters: that it takes at 1 Hz.
        knob: what moves it.
        source: where the value is from.
    """

    name: str
    value: str
    meters: float
    knob: str
    source: str


def limits(
    measured: Measured, encoding: Encoding = Encoding.ARROW, *, machine_cores: int = 2
) -> list[Limit]:
    """Limits of a fleet at 1 Hz, the narrowest first.

    Args:
        measured: sizes and rates.
        encoding: what gateways send, ten meters each, every 30 s.
        machine_cores: of the one machine that runs the platform locally.
    """
    scenario = Scenario(meters=10, encoding=encoding)
    per_message = scenario.readings_per_message
    bytes_per_reading = message_bytes(measured.sizes[encoding].pubsub, per_message) / per_message
    cap = Settings.model_fields["bigquery_maximum_bytes_billed"].default
    worker = {
        method: measured.dataflow_per_core(encoding, method) * WORKER_CORES * TARGET_LOAD
        for method in WriteMethod
    }
    storage_api = worker[WriteMethod.STORAGE_WRITE_API]
    found = [
        Limit(
            "bytes that a query may bill",
            f"{cap / 1e9:,.0f} GB",
            cap / (LARGEST_STATEMENT_BYTES / SURVEY_METERS),
            "`bigquery_maximum_bytes_billed` (`AMI_BIGQUERY_MAXIMUM_BYTES_BILLED`)",
            "[what a tick reads](dbt.md#bigquery)",
        ),
        Limit(
            "workers that Terraform allows",
            f"{MAX_WORKERS}",
            MAX_WORKERS * storage_api,
            "`dataflow_max_workers`",
            "`infra/variables.tf`",
        ),
        Limit(
            "one machine, everything local",
            f"{measured.ingest_per_core[encoding] * machine_cores:,.0f} readings/s on "
            f"{machine_cores} cores",
            measured.ingest_per_core[encoding] * machine_cores,
            "Google Cloud instead",
            "[benchmarks](benchmarks.md)",
        ),
        Limit(
            "publishing, a large region",
            "200 MB/s",
            200e6 / bytes_per_reading,
            "a quota that can be raised; a topic and a job per region",
            PUBSUB_QUOTAS,
        ),
        Limit(
            "Storage Write API, dataset in a region",
            "300 MB/s",
            300e6 / row_bytes(),
            "`bigquery_location` US or EU; a quota that can be raised",
            BIGQUERY_QUOTAS,
        ),
        Limit(
            "Storage Write API, dataset in US or EU",
            "3 GB/s",
            3e9 / row_bytes(),
            "`bq_write_method` file_loads; a project per region",
            BIGQUERY_QUOTAS,
        ),
        Limit(
            "workers that Terraform takes at most",
            f"{MAX_WORKERS_TAKEN:,}",
            MAX_WORKERS_TAKEN * storage_api,
            "a job per region; `bq_write_method` file_loads",
            "`infra/variables.tf`",
        ),
        Limit(
            "addresses of the workers' network",
            f"{SUBNET_ADDRESSES:,}",
            SUBNET_ADDRESSES * storage_api,
            "`subnetwork_cidr`",
            "`infra/variables.tf`",
        ),
        Limit(
            "machines of a Dataflow job",
            "2,000",
            2000 * storage_api,
            "`dataflow_machine_type` with more cores; a job per region (4,000 if it names no zone)",
            DATAFLOW_QUOTAS,
        ),
        Limit(
            "the same machines with load jobs",
            "2,000",
            2000 * worker[WriteMethod.FILE_LOADS],
            "`dataflow_machine_type`",
            DATAFLOW_QUOTAS,
        ),
    ]
    return sorted(found, key=lambda limit: limit.meters)


LIMITS_WITHOUT_METERS: Final[Mapping[str, tuple[str, str]]] = {
    "partitions of a table": (
        "10,000 days are 27 years of daily partitions",
        "https://cloud.google.com/bigquery/quotas#partitioned_tables",
    ),
    "partitions that a job may change": (
        "4,000; a tick changes one or two",
        "https://cloud.google.com/bigquery/quotas#partitioned_tables",
    ),
    "changes of partitions of a table in a day": (
        "30,000; 288 ticks and 24 builds change some 600",
        "https://cloud.google.com/bigquery/quotas#partitioned_tables",
    ),
    "load jobs of a table in a day": (
        "1,500; file_loads runs 720",
        "https://cloud.google.com/bigquery/quotas#load_jobs",
    ),
    "a Pub/Sub message": ("10 MB; 300 readings in JSON are 60 kB", PUBSUB_QUOTAS),
    "Dataflow jobs of a project at a time": ("25", DATAFLOW_QUOTAS),
}
"""Limits that a larger fleet does not come nearer: what they mean here, and the source."""
