"""Options of `python -m beam_jobs.main`: reads a command line, gives checked values.

Beam's own options (`--runner`, `--project`, `--region`, `--temp_location`, …) keep Beam's meaning;
the ones here are those of the ingest.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    StandardOptions,
)

from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir
from beam_jobs.archive_places import ARCHIVE_MINUTES
from beam_jobs.bigquery_sink import WriteMethod
from beam_jobs.decode import PayloadBounds
from beam_jobs.streaming import StreamConfig

CLOUD_RUNNER: Final = "DataflowRunner"
LOCAL_RUNNERS: Final = ("LocalRunner", "local")

_SUBSCRIPTION: Final = re.compile(r"projects/([^/]+)/subscriptions/([^/]+)")
_TOPIC: Final = re.compile(r"projects/[^/]+/topics/[^/]+")
_TABLE: Final = re.compile(r"[a-z0-9.:-]+:[A-Za-z0-9_]+\.[A-Za-z0-9_-]+")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_GS: Final = "gs://"
_MEBIBYTE: Final = 1024 * 1024


class IngestOptions(PipelineOptions):
    """The ingest's own options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add(
            "--input_subscription",
            metavar="SUBSCRIPTION",
            help="Pub/Sub subscription to read: projects/PROJECT/subscriptions/NAME.",
        )
        add(
            "--output_bq_table",
            metavar="TABLE",
            help="BigQuery table of the readings: project:dataset.raw_meter_readings. "
            "Locally a folder that ends in /landing.",
        )
        add(
            "--bq_write_method",
            choices=[str(method) for method in WriteMethod],
            default=str(WriteMethod.STORAGE_WRITE_API),
            help="How rows get into BigQuery; the Storage Write API works at least once.",
        )
        add(
            "--no_create_tables",
            action="store_true",
            help="Trust that the tables exist instead of making those that are missing.",
        )
        add(
            "--raw_archive_bucket",
            metavar="BUCKET",
            help="Bucket of archive and dead letter, with or without gs://. Locally a folder.",
        )
        add(
            "--raw_archive_prefix",
            metavar="PREFIX",
            help="Folder of the archive in its bucket (default raw/; locally archive/).",
        )
        add(
            "--archive_minutes",
            type=int,
            choices=ARCHIVE_MINUTES,
            default=1,
            help="Minutes of event_ts in one archive file.",
        )
        add(
            "--dlq_topic",
            metavar="TOPIC",
            help="Pub/Sub topic of dead letters: projects/PROJECT/topics/NAME; without it they "
            "become files in BUCKET/deadletter. Locally a folder that ends in /deadletter.",
        )
        add(
            "--window_seconds",
            type=int,
            default=0,
            metavar="N",
            help="Write provisional aggregates per pole and N seconds to minute_agg_pole_live "
            "(default 0: none).",
        )
        add(
            "--max_payload_bytes",
            type=int,
            default=8 * _MEBIBYTE,
            metavar="N",
            help="A larger payload is dead-lettered unread (Dataflow; locally a setting).",
        )
        add(
            "--max_decoded_bytes",
            type=int,
            default=64 * _MEBIBYTE,
            metavar="N",
            help="A compressed payload that stands for more is dead-lettered (likewise).",
        )
        add(
            "--group_max_messages",
            type=int,
            default=5000,
            metavar="N",
            help="Most messages handled together.",
        )
        add(
            "--group_max_bytes",
            type=int,
            default=16 * _MEBIBYTE,
            metavar="N",
            help="Most payload bytes handled together.",
        )
        add(
            "--group_max_wait_s",
            type=float,
            default=0.0,
            metavar="S",
            help="Locally: how long a micro-batch collects (0: AMI_INGEST_MAX_WAIT_S). On "
            "Dataflow: how long small messages wait for company beyond their bundle (default 0: "
            "not at all).",
        )
        add(
            "--pubsub_emulator_host",
            metavar="HOST:PORT",
            help="Local runner only: Pub/Sub emulator (default PUBSUB_EMULATOR_HOST, then the "
            "embedded server).",
        )
        add(
            "--drain_s",
            type=float,
            metavar="S",
            help="Local runner only: end when nothing has come for S seconds.",
        )


class LocalConfig(NamedTuple):
    """What the local ingest is told on the command line; None: the setting holds.

    Attributes:
        project_id, subscription: of the Pub/Sub subscription.
        data_dir: folder that holds archive, landing and dead letter.
        emulator_host: host:port.
        max_wait_s: how long a micro-batch collects, in seconds.
        drain_s: end when nothing has come for so long, in seconds.
    """

    project_id: str | None
    subscription: str | None
    data_dir: Path | None
    emulator_host: str | None
    max_wait_s: float | None
    drain_s: float | None


def help_text() -> str:
    """Usage, our options and which of Beam's matter."""
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs.main",
        description="Ingest meter readings from Pub/Sub: on Dataflow into BigQuery and buckets, "
        "locally into folders.",
        epilog="Beam's own options work as in every Beam program; on Dataflow: --project, "
        "--region, --temp_location, --staging_location, --job_name, --update, "
        "--worker_machine_type, --max_num_workers, --service_account_email, --network, "
        "--subnetwork, --no_use_public_ips, --extra_package, --sdk_container_image. "
        "See docs/ingest-cloud.md.",
    )
    parser.add_argument(
        "--runner",
        choices=[CLOUD_RUNNER, *LOCAL_RUNNERS],
        default=LOCAL_RUNNERS[0],
        help="Where to run.",
    )
    parser.add_argument("--streaming", action="store_true", help="Implied on Dataflow.")
    IngestOptions._add_argparse_args(parser)
    return parser.format_help()


def parse(argv: Sequence[str]) -> PipelineOptions:
    """Options of a command line.

    Raises:
        SettingsError: an option that neither the ingest nor Beam knows.
        SystemExit: a value that an option does not take; argparse has said why.
    """
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs.main", add_help=False, allow_abbrev=False,
        conflict_handler="resolve",
    )  # fmt: skip
    for known in _option_classes():
        known._add_argparse_args(parser)
    unknown = parser.parse_known_args(list(argv))[1]
    if unknown:
        raise SettingsError(f"unknown option {unknown[0]}; --help lists all")
    return PipelineOptions(list(argv))


def _option_classes() -> list[type[PipelineOptions]]:
    found: dict[str, type[PipelineOptions]] = {}
    for known in PipelineOptions.__subclasses__():
        found[f"{known.__module__}.{known.__qualname__}"] = known
    return list(found.values())


def is_local(options: PipelineOptions) -> bool:
    """Whether the local micro-batch loop is meant.

    Raises:
        SettingsError: another runner than Dataflow is.
    """
    runner = options.view_as(StandardOptions).runner
    if runner is None or runner in LOCAL_RUNNERS:
        return True
    if runner == CLOUD_RUNNER:
        return False
    raise SettingsError(
        f"--runner {runner}: {CLOUD_RUNNER} and {LOCAL_RUNNERS[0]} are what the ingest runs on "
        "(Beam's DirectRunner acknowledges messages before they are stored)"
    )


def stream_config(options: PipelineOptions) -> StreamConfig:
    """Config of the streaming graph.

    Raises:
        SettingsError: an option is missing, malformed or of no use on Dataflow.
    """
    own = options.view_as(IngestOptions)
    for name in ("pubsub_emulator_host", "drain_s"):
        if getattr(own, name) is not None:
            raise SettingsError(f"--{name} is for the local runner, not for {CLOUD_RUNNER}")
    google = options.view_as(GoogleCloudOptions)
    for name in ("project", "region", "temp_location"):
        if not getattr(google, name):
            raise SettingsError(f"--{name} is missing; {CLOUD_RUNNER} needs it")
    bucket = f"{_GS}{_bucket(own)}"
    return StreamConfig(
        _matching(_SUBSCRIPTION, own, "input_subscription", "projects/PROJECT/subscriptions/NAME"),
        _matching(_TABLE, own, "output_bq_table", "project:dataset.table"),
        WriteMethod(own.bq_write_method),
        f"{bucket}/{_prefix(own, 'raw/')}".rstrip("/"),
        f"{bucket}/deadletter",
        own.archive_minutes,
        _matching(_TOPIC, own, "dlq_topic", "projects/PROJECT/topics/NAME")
        if own.dlq_topic
        else None,
        _at_least(own, "window_seconds", 0),
        PayloadBounds(
            _at_least(own, "max_payload_bytes", 1024), _at_least(own, "max_decoded_bytes", 1024)
        ),
        _at_least(own, "group_max_messages", 1),
        _at_least(own, "group_max_bytes", 1024),
        _at_least(own, "group_max_wait_s", 0),
    )


def _matching(pattern: re.Pattern[str], own: IngestOptions, name: str, form: str) -> str:
    value: str | None = getattr(own, name)
    if not value:
        raise SettingsError(f"--{name} is missing; {form} is meant")
    if not pattern.fullmatch(value):
        raise SettingsError(f"--{name}={value}: {form} is meant")
    return value


def _at_least(own: IngestOptions, name: str, least: float) -> Any:
    value = getattr(own, name)
    if value < least:
        raise SettingsError(f"--{name}={value}: {least:g} or more is meant")
    return value


def _bucket(own: IngestOptions) -> str:
    value = own.raw_archive_bucket
    if not value:
        raise SettingsError("--raw_archive_bucket is missing; the name of a bucket is meant")
    bucket = value.removeprefix(_GS).rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(
            f"--raw_archive_bucket={value}: the name of a bucket is meant; folders in it go into "
            "--raw_archive_prefix"
        )
    return bucket


def _prefix(own: IngestOptions, default: str) -> str:
    given = own.raw_archive_prefix
    prefix = (default if given is None else given).strip("/")
    if prefix.split("/")[0] == "deadletter":
        raise SettingsError(
            f"--raw_archive_prefix={given}: deadletter/ belongs to the dead letter; choose another"
        )
    return prefix


def local_config(options: PipelineOptions) -> LocalConfig:
    """Config of the local ingest.

    Raises:
        SettingsError: an option is malformed, of no use locally, or folders do not fit together.
    """
    own = options.view_as(IngestOptions)
    if own.window_seconds:
        raise SettingsError(
            "--window_seconds is for Dataflow; locally dbt builds minute_agg_pole from the readings"
        )
    project_id = subscription = None
    if own.input_subscription:
        _matching(_SUBSCRIPTION, own, "input_subscription", "projects/PROJECT/subscriptions/NAME")
        _, project_id, _, subscription = own.input_subscription.split("/")
    return LocalConfig(
        project_id,
        subscription,
        _data_dir(own),
        own.pubsub_emulator_host,
        _at_least(own, "group_max_wait_s", 0) or None,
        own.drain_s,
    )


def _data_dir(own: IngestOptions) -> Path | None:
    """The folder whose archive, landing and dead letter are the folders that were named."""
    named: list[tuple[str, Path]] = []
    if own.raw_archive_bucket:
        archive = Path(own.raw_archive_bucket) / _prefix(own, "archive")
        named.append(("--raw_archive_bucket with --raw_archive_prefix", archive))
    if own.output_bq_table:
        named.append(("--output_bq_table", Path(own.output_bq_table)))
    if own.dlq_topic:
        named.append(("--dlq_topic", Path(own.dlq_topic)))
    roots = {folder.expanduser().absolute().parent for _, folder in named}
    if not roots:
        return None
    root = roots.pop()
    data = DataDir(root)
    allowed = {data.archive, data.landing, data.deadletter}
    for option, folder in named:
        if folder.expanduser().absolute() not in allowed:
            raise SettingsError(
                f"{option} names {folder}: locally archive, landing and deadletter lie together "
                f"in one folder, here {data.archive}, {data.landing} and {data.deadletter}"
            )
    return root
