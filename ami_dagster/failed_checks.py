"""Failed checks: reads the newest evaluations of an instance, gives those that count."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

Latest = dict[dg.AssetCheckKey, AssetCheckExecutionRecord]


def latest_evaluations(instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey]) -> Latest:
    """Newest evaluation of each check that was ever asked for, by check."""
    return dict(instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks)))


def failed(latest: Latest) -> Latest:
    """Those that failed with severity ERROR."""
    return {
        key: record
        for key, record in latest.items()
        if record.status == AssetCheckExecutionRecordStatus.FAILED
        and record.evaluation
        and record.evaluation.severity == dg.AssetCheckSeverity.ERROR
    }


def is_asked(record: AssetCheckExecutionRecord) -> bool:
    """Whether the check is being evaluated, so that its verdict is still to come."""
    return record.status == AssetCheckExecutionRecordStatus.PLANNED
