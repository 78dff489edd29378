"""Names and places in the lake: every path and partition key the platform uses is made here.

Layout below `AMI_DATA_DIR` (see docs/architecture.md). Files are immutable once they carry their
final name; a name that starts with a dot is being written and belongs to nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ami_contract.reading import IDENTIFIER_PATTERN

HOUR: Final = timedelta(hours=1)
PARTITION_FORMAT: Final = "%Y-%m-%d-%H:%M"
_IDENTIFIER: Final = re.compile(IDENTIFIER_PATTERN)


def floor_hour(instant: datetime) -> datetime:
    """Start of the UTC hour that holds `instant` (which must carry a zone)."""
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def partition_key(hour: datetime) -> str:
    """Dagster key of an hour, e.g. `2026-03-01-14:00`."""
    return hour.astimezone(UTC).strftime(PARTITION_FORMAT)


def hour_of_key(key: str) -> datetime:
    """Hour of a key made by `partition_key`; raises ValueError for any other text."""
    return datetime.strptime(key, PARTITION_FORMAT).replace(tzinfo=UTC)


def hour_folder(hour: datetime) -> str:
    """Folder of an hour below a table's folder: `dt=YYYY-MM-DD/hr=HH`."""
    return hour.astimezone(UTC).strftime("dt=%Y-%m-%d/hr=%H")


def minute_folder(pole_id: str, minute: datetime) -> str:
    """Folder of a pole's minute: `pole_id=…/dt=YYYY-MM-DD/hr=HH/min=MM`.

    Raises:
        ValueError: `pole_id` is no identifier and might leave the folder.
    """
    if not _IDENTIFIER.fullmatch(pole_id):
        raise ValueError(f"{pole_id!r} is no pole_id")
    return f"pole_id={pole_id}/{hour_folder(minute)}/min={minute.astimezone(UTC):%M}"


def hour_of_folder(folder: Path) -> datetime:
    """Hour of a folder `…/dt=YYYY-MM-DD/hr=HH`; raises ValueError for any other."""
    day, hour = folder.parent.name, folder.name
    return datetime.strptime(f"{day} {hour}", "dt=%Y-%m-%d hr=%H").replace(tzinfo=UTC)


@dataclass(frozen=True)
class DataDir:
    """The one folder that holds all a local run writes.

    Attributes:
        root: `AMI_DATA_DIR`, absolute.
    """

    root: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder of the platform directly below the root."""
        return (
            self.pubsub,
            self.archive,
            self.landing,
            self.readings,
            self.quarantine,
            self.deadletter,
            self.registry.parent,
            self.imports,
            self.truth,
            self.spool,
            self.warehouse.parent,
            self.exports,
            self.reports,
            self.dagster_home,
            self.parsed_models(None).parent,
            self.logs,
            self.run,
        )

    @property
    def pubsub(self) -> Path:
        """Journal of the embedded Pub/Sub."""
        return self.root / "pubsub"

    @property
    def pubsub_backlogs(self) -> Path:
        """What the embedded Pub/Sub last told of its subscriptions."""
        return self.run / "pubsub.json"

    @property
    def archive(self) -> Path:
        """Raw archive: what arrived, as it arrived; segments by hour of arrival."""
        return self.root / "archive"

    @property
    def archive_raw(self) -> Path:
        """Layout of the raw archive by pole and minute of `event_ts`, see `minute_folder`."""
        return self.archive / "raw"

    @property
    def archive_rounds(self) -> Path:
        """Plans of rounds that lay segments out; a file here is of a round in hand."""
        return self.archive / "rounds"

    @property
    def archive_lock(self) -> Path:
        """Shared by readers of archive and dead letter; whoever commits or deletes is alone."""
        return self.run / "archive.lock"

    @property
    def archive_rounds_lock(self) -> Path:
        """Held while a round that lays segments out is in hand."""
        return self.run / "archive-rounds.lock"

    @property
    def landing(self) -> Path:
        """Landing: Parquet by hour of `event_ts`, duplicates possible."""
        return self.root / "landing"

    @property
    def readings(self) -> Path:
        """Compacted hours: `readings-*` (deduplicated, sorted), `copies-*` (the removed copies)
        and the hour's `manifest.json`, which says what counts."""
        return self.root / "readings"

    @property
    def quarantine(self) -> Path:
        """Landed files that cannot be read, by hour of `event_ts`, each with its reason."""
        return self.root / "quarantine"

    @property
    def deadletter(self) -> Path:
        """What was refused, with its reason; segments by hour of arrival."""
        return self.root / "deadletter"

    @property
    def deadletter_payloads(self) -> Path:
        """Whole payloads of dead letters that are too long to stand in their line, by hash."""
        return self.deadletter / "payloads"

    @property
    def deadletter_replaying(self) -> Path:
        """Intents of dead-letter replays in hand, one file each."""
        return self.deadletter / "replaying"

    @property
    def deadletter_replayed(self) -> Path:
        """Ids of the letters that were stored after all, one file per replay."""
        return self.deadletter / "replayed"

    @property
    def registry(self) -> Path:
        """The fleet, as CSV that users edit."""
        return self.root / "registry" / "meters.csv"

    @property
    def imports(self) -> Path:
        """One summary per imported file and mapping, written last."""
        return self.root / "imports"

    @property
    def truth(self) -> Path:
        """Ground truth of simulated runs."""
        return self.root / "truth"

    @property
    def spool(self) -> Path:
        """What simulated gateways could not send yet, by topic and run."""
        return self.root / "spool"

    @property
    def warehouse(self) -> Path:
        """DuckDB file that dbt alone writes."""
        return self.root / "warehouse" / "warehouse.duckdb"

    @property
    def published_warehouse(self) -> Path:
        """DuckDB snapshot that readers attach; replaced whole."""
        return self.root / "warehouse" / "serve.duckdb"

    @property
    def exports(self) -> Path:
        """Files that the asset `exports` writes, by table and UTC day."""
        return self.root / "exports"

    @property
    def reports(self) -> Path:
        """Reports as Markdown, by kind and UTC day."""
        return self.root / "reports"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance folder."""
        return self.root / "dagster"

    def parsed_models(self, target: str | None) -> Path:
        """What dbt has parsed of its project for `target` of the profile (None: its own)."""
        return self.root / "dbt" / f"{target or 'duckdb'}.msgpack"

    @property
    def logs(self) -> Path:
        """Logs of the processes that `ami demo` and `ami up` start."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Lock and pid files of running processes."""
        return self.root / "run"


def hours_between(start: datetime, end: datetime) -> Iterator[datetime]:
    """Every UTC hour that meets [start, end)."""
    hour = floor_hour(start)
    while hour < end:
        yield hour
        hour += HOUR
