"""Old runs of Dagster: reads the instance, deletes what no partition, asset or check needs.

A run that made the newest state of a partition stays: without it the partition would look missing,
and its page empty. So of 300 runs a day about 25 stay, those of the hourly and daily refresh.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

_ENDED: Final = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
_MOST: Final = 5000
_AT_ONCE: Final = 500


def prune_runs(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete ended runs that were created before a time and that nothing shows; returns how many.

    Their logs go with them. At most 5000 go at a time, the oldest first.
    """
    wanted = dg.RunsFilter(statuses=_ENDED, created_before=before)
    oldest = instance.get_run_records(wanted, limit=1, ascending=True)
    needed = needed_runs(instance) if oldest else set()
    # All are listed before the first goes: a page begins after a run that is still there.
    doomed = [*islice((run for run in _runs(instance, wanted) if run not in needed), _MOST)]
    for run_id in doomed:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        instance.delete_run(run_id)
        _remove_shard(instance, run_id)
    return len(doomed)


def _runs(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> Iterator[str]:
    """Ids of the runs that are wanted, oldest first, read page by page."""
    last = None
    while page := instance.get_run_records(wanted, limit=_AT_ONCE, cursor=last, ascending=True):
        yield from (record.dagster_run.run_id for record in page)
        last = page[-1].dagster_run.run_id


def needed_runs(instance: dg.DagsterInstance) -> set[str]:
    """Runs whose materialization or observation is the newest of its asset or partition."""
    kinds = (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION)
    return {
        run_id
        for key in instance.all_asset_keys()
        for kind in kinds
        for run_id in _newest_runs(instance, key, kind)
    }


def _newest_runs(
    instance: dg.DagsterInstance, key: dg.AssetKey, kind: dg.DagsterEventType
) -> Iterator[str]:
    is_made = kind == dg.DagsterEventType.ASSET_MATERIALIZATION
    fetch = instance.fetch_materializations if is_made else instance.fetch_observations
    yield from (record.run_id for record in fetch(key, limit=1).records)
    by_partition = instance.event_log_storage.get_latest_storage_id_by_partition(key, kind)
    ids = sorted(by_partition.values())
    for start in range(0, len(ids), _AT_ONCE):
        named = dg.AssetRecordsFilter(key, storage_ids=ids[start : start + _AT_ONCE])
        yield from (record.run_id for record in fetch(named, limit=_AT_ONCE).records)


def _remove_shard(instance: dg.DagsterInstance, run_id: str) -> None:
    """SQLite keeps the events of each run in a file, which `delete_run` only empties."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        shard = Path(storage.path_for_shard(run_id))
        for suffix in ("", "-wal", "-shm"):
            shard.with_name(shard.name + suffix).unlink(missing_ok=True)
