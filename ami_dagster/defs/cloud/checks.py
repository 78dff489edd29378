"""Checks on Google Cloud: reads BigQuery and the archive's bucket, gives verdicts on demand."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg
from google.cloud import storage

from ami_contract.errors import AmiError
from ami_contract.lake import HOUR, hour_folder
from ami_dagster.alerts.observation import Watch
from ami_dagster.cloud import Archive, GoogleCloud, RawTable
from ami_dagster.defs.cloud.look import meters_in_cloud
from ami_dagster.defs.lake.checks import CHECKED, POLES_ARE_HEARD, pole_verdict

ARCHIVE_GROWS: Final = "archive_grows"
ARCHIVE_PREFIX: Final = "raw/"
# A minute's file appears two minutes after the minute, one of five minutes a few later.
_ARCHIVED_WITHIN: Final = timedelta(minutes=20)
_MOST_POLES: Final = 20


def poles_check(watch: Watch) -> dg.AssetChecksDefinition:
    """`poles_are_heard` on demand; the sensor `data_flow` reports it by itself."""

    @dg.asset_check(
        asset=CHECKED,
        name=POLES_ARE_HEARD,
        description=(
            "The newest event_ts of every pole is recent: WARN after AMI_SILENT_WARN_S, ERROR "
            "after AMI_SILENT_ERROR_S. Reported by the sensor data_flow."
        ),
    )
    def poles_are_heard(cloud: GoogleCloud, raw_table: RawTable) -> dg.AssetCheckResult:
        now = cloud.now()
        try:
            meters = meters_in_cloud(raw_table, watch, now)
        except AmiError as error:
            raise dg.Failure(str(error)) from None
        return pole_verdict(meters, now, watch.limits.silence, watch.silence_is_error)

    return poles_are_heard


def archive_check() -> dg.AssetChecksDefinition:
    """`archive_grows`: the archive's bucket has files of the last minutes."""

    @dg.asset_check(
        asset="raw_archive",
        name=ARCHIVE_GROWS,
        description=(
            f"Of the first {_MOST_POLES} poles of the archive one at least has a file written "
            f"within {_ARCHIVED_WITHIN.seconds // 60} minutes. On demand."
        ),
    )
    def archive_grows(cloud: GoogleCloud, archive: Archive) -> dg.AssetCheckResult:
        try:
            with archive.opened() as client:
                newest, poles = newest_file(client, archive.bucket, cloud.now())
        except AmiError as error:
            raise dg.Failure(str(error)) from None
        return archive_verdict(newest, poles, cloud.now())

    return archive_grows


def newest_file(
    client: storage.Client, bucket: str, now: datetime
) -> tuple[datetime | None, list[str]]:
    """When a file of this hour or the one before was written last, and the poles looked at.

    Two short listings for each pole, of some poles only: a listing of the whole archive would be
    one of millions of names.
    """
    listed = client.list_blobs(bucket, prefix=ARCHIVE_PREFIX, delimiter="/", fields="prefixes")
    prefixes: set[str] = set()
    for page in listed.pages:
        prefixes.update(page.prefixes)
        break
    poles = sorted(prefixes)[:_MOST_POLES]
    written = [
        blob.time_created
        for pole in poles
        for blob in client.list_blobs(bucket, match_glob=_files_of(pole, now))
    ]
    newest = max(written, default=None)
    names = [pole.removeprefix(ARCHIVE_PREFIX).rstrip("/") for pole in poles]
    return (newest.astimezone(UTC) if newest else None), names


def _files_of(pole: str, now: datetime) -> str:
    hours = ",".join(f"{hour_folder(hour)}/**" for hour in (now - HOUR, now))
    return f"{pole}{{{hours}}}"


def archive_verdict(
    newest: datetime | None, poles: Sequence[str] | Iterable[str], now: datetime
) -> dg.AssetCheckResult:
    """Whether the archive has grown of late."""
    names = list(poles)
    if newest is None:
        said = f"no file of the last hour at {len(names)} poles"
    else:
        said = f"the newest file at {len(names)} poles was written {newest:%Y-%m-%d %H:%M:%S}Z"
    return dg.AssetCheckResult(
        asset_key="raw_archive",
        check_name=ARCHIVE_GROWS,
        passed=newest is not None and now - newest <= _ARCHIVED_WITHIN,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={"poles_looked_at": len(names)},
    )
