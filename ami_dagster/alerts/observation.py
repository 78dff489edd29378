"""One look at the whole way: reads lake, Pub/Sub state, snapshot and instance, gives what is seen.

Everything here is cheap enough for every minute: three columns of the newest hours, one
small file, and a few queries of the instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dagster as dg
import duckdb
from dagster._core.scheduler.instigation import InstigatorType
from dagster._core.storage.tags import WILL_RETRY_TAG

from ami_contract.errors import AmiError
from ami_contract.lake import HOUR, DataDir
from ami_dagster.alerts.hops import Limits, MeterSeen, Observation
from ami_dagster.jobs import (
    DETECT_SAGS,
    REFRESH_DAYS,
    REFRESH_HOURS,
    REFRESH_WEEKS,
    SAG_MARTS,
)
from ami_store.backlog import Backlog, read_backlog
from ami_store.recency import newest_readings, newest_refusal, waiting
from ami_store.registry import read_registry
from ami_store.warehouse import published_listing

_SCHEDULED: Final = (DETECT_SAGS, REFRESH_HOURS, REFRESH_DAYS, REFRESH_WEEKS)
_ENDED: Final = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


@dataclass(frozen=True)
class Watch:
    """What is looked at.

    Attributes:
        subscription: full name of the ingest's subscription.
        limits: from when on something is late.
        silence_is_error: from when on the silence of a pole is an error of its check.
        made_within: the age at which marts by day and week are stale.
    """

    subscription: str = ""
    limits: Limits = field(default_factory=Limits)
    silence_is_error: timedelta = timedelta(hours=1)
    made_within: Mapping[dg.AssetKey, timedelta] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """An observation and what kept it from being whole.

    Attributes:
        seen: what was observed.
        problem: why the lake, or files of it, cannot be read; empty when all can.
        unread: things other than the lake that could not be told, a line each.
    """

    seen: Observation
    problem: str = ""
    unread: tuple[str, ...] = ()


def observe(data: DataDir, instance: dg.DagsterInstance, watch: Watch, now: datetime) -> Look:
    """Look at everything; what cannot be read is left out and said."""
    unread: list[str] = []
    backlog: Backlog | None = None
    try:
        backlog = read_backlog(data, watch.subscription)
    except AmiError as error:
        unread.append(str(error))
    snapshot_at, snapshot_problem = _snapshot(data)
    known = Observation(
        at=now,
        backlog=backlog,
        refused_at=newest_refusal(data),
        ticked_at=newest_tick(instance),
        built_at=made_at(instance, dg.AssetKey(SAG_MARTS[0])),
        overdue=overdue(instance, watch.made_within, now),
        snapshot_at=snapshot_at,
        snapshot_problem=snapshot_problem,
        failing_jobs=failing_jobs(instance),
    )
    try:
        meters, problem = meters_seen(data, watch, now)
        waits = waiting(data, now, snapshot_at)
    except AmiError as error:
        return Look(known, str(error), tuple(unread))
    except duckdb.Error as error:
        return Look(known, f"the lake's state cannot be read: {error}", tuple(unread))
    seen = replace(
        known,
        meters=meters,
        arrived_at=waits.arrived_at,
        uncompacted_since=waits.uncompacted_since,
        unpublished_since=waits.unpublished_since,
        unbuilt_hours=waits.unbuilt_hours,
    )
    return Look(seen, problem, tuple(unread))


def meters_seen(data: DataDir, watch: Watch, now: datetime) -> tuple[tuple[MeterSeen, ...], str]:
    """Meters in service or heard of late, and which files of the newest hours are damaged.

    Raises:
        LakeError: the registry or a manifest is damaged.
    """
    since = now - watch.silence_is_error - HOUR
    service = {
        row["meter_id"]: row
        for row in read_registry(data.registry).to_pylist()
        if row["valid_from"] <= now and (row["valid_to"] is None or now < row["valid_to"])
    }
    newest = newest_readings(data, since, now, service.keys())
    heard = {name: (each.pole_id, each.event_ts) for name, each in newest.meters.items()}
    meters = seen_of(service, heard, since)
    problem = ""
    if newest.damaged:
        names = ", ".join(str(path) for path in newest.damaged[:5])
        problem = (
            f"{len(newest.damaged)} files cannot be read: {names}; restore them from a backup, or "
            "move them away and replay their readings from the archive"
        )
    return meters, problem


def seen_of(
    service: Mapping[str, Mapping[str, Any]],
    heard: Mapping[str, tuple[str, datetime]],
    since: datetime,
) -> tuple[MeterSeen, ...]:
    """Meters in service and meters heard of, each once, by id.

    Args:
        service: rows of the registry, by meter.
        heard: pole and newest `event_ts`, by meter.
        since: from when on readings were looked for.
    """
    meters = []
    for meter_id in sorted({*service, *heard}):
        row, newest = service.get(meter_id), heard.get(meter_id)
        interval_s = ((row and row["sample_interval_ms"]) or 1000) / 1000
        if newest:
            pole_id, heard_at = (row["pole_id"] if row else newest[0]), newest[1]
        else:
            assert row is not None
            pole_id, heard_at = row["pole_id"], max(row["valid_from"], since)
        meters.append(MeterSeen(meter_id, pole_id, heard_at, newest is not None, interval_s))
    return tuple(meters)


def _snapshot(data: DataDir) -> tuple[datetime | None, str]:
    try:
        return published_listing(data), ""
    except duckdb.Error as error:
        return None, str(error)


def newest_tick(instance: dg.DagsterInstance) -> datetime | None:
    """Newest tick of any schedule, skipped ones too; None when none has ever ticked."""
    newest = [
        tick.timestamp
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    ]
    return datetime.fromtimestamp(max(newest), UTC) if newest else None


def made_at(instance: dg.DagsterInstance, key: dg.AssetKey) -> datetime | None:
    """When an asset was made last; None when it never was."""
    event = instance.get_latest_materialization_event(key)
    return datetime.fromtimestamp(event.timestamp, UTC) if event else None


def overdue(
    instance: dg.DagsterInstance, made_within: Mapping[dg.AssetKey, timedelta], now: datetime
) -> tuple[str, ...]:
    """Names of the assets that were made once, but too long ago."""
    return tuple(
        sorted(
            key.to_user_string()
            for key, limit in made_within.items()
            if (at := made_at(instance, key)) and now - at > limit
        )
    )


def failing_jobs(instance: dg.DagsterInstance) -> tuple[str, ...]:
    """Scheduled jobs whose last ended run failed for good."""
    found = []
    for job_name in _SCHEDULED:
        records = instance.get_run_records(
            dg.RunsFilter(job_name=job_name, statuses=_ENDED), limit=1
        )
        if records and has_failed(records[0].dagster_run):
            found.append(job_name)
    return tuple(found)


def has_failed(run: dg.DagsterRun) -> bool:
    """Whether a run failed and is not tried again by itself."""
    return run.status == dg.DagsterRunStatus.FAILURE and run.tags.get(WILL_RETRY_TAG) != "true"
