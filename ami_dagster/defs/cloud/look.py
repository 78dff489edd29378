"""One look at the way of a reading on Google Cloud: reads Google's services and the instance.

The job, its lag and its backlog cost nothing and are looked at every minute. When a meter was heard
last costs a query over the open day (about 3 GB at its end for 1 000 meters at 1 Hz), so that is
asked for every ten minutes, and the hops that it judges keep their state in between.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import dagster as dg

from ami_contract.errors import AmiError
from ami_contract.lake import HOUR
from ami_dagster.alerts.hops import JobSeen, MeterSeen, Observation
from ami_dagster.alerts.observation import (
    Look,
    Watch,
    failing_jobs,
    made_at,
    newest_tick,
    overdue,
    seen_of,
)
from ami_dagster.cloud import RAW_TABLE, GoogleCloud, RawTable

METERS_EVERY: Final = timedelta(minutes=10)


def meters_in_cloud(table: RawTable, watch: Watch, now: datetime) -> tuple[MeterSeen, ...]:
    """Meters in service or heard of late; raises SettingsError, CloudError."""
    since = now - watch.silence_is_error - HOUR
    return seen_of(table.in_service(now), table.heard(since), since)


def observe_cloud(
    cloud: GoogleCloud,
    table: RawTable,
    instance: dg.DagsterInstance,
    watch: Watch,
    now: datetime,
    *,
    with_meters: bool,
) -> Look:
    """Look at everything; what cannot be asked is left out and said."""
    job, backlog, untold = cloud.observe_job(now)
    unread = [untold] if untold else []
    seen = Observation(
        at=now,
        job=job,
        backlog=backlog,
        arrived_at=made_at(instance, dg.AssetKey(RAW_TABLE)),
        ticked_at=newest_tick(instance),
        overdue=overdue(instance, watch.made_within, now),
        failing_jobs=failing_jobs(instance),
    )
    if with_meters:
        try:
            seen = replace(seen, meters=meters_in_cloud(table, watch, now))
        except AmiError as error:
            unread.append(str(error))
    return Look(seen, unread=tuple(unread))


def job_observation(look: Look) -> dg.AssetObservation:
    """What is seen of the streaming job, as an event of `ingest_job`."""
    job = look.seen.job or JobSeen("")
    backlog = look.seen.backlog
    metadata: dict[str, str | int | float] = {"job": job.name, "state": job.state or "none"}
    if job.job_id:
        metadata["job_id"] = job.job_id
    if job.since:
        metadata["in_state_since"] = job.since.isoformat()
    if job.lag_s is not None:
        metadata["system_lag_s"] = job.lag_s
    if backlog is not None:
        metadata["messages_waiting"] = backlog.messages
        metadata["oldest_message_s"] = backlog.oldest_age_s
    if job.problem:
        metadata["problem"] = job.problem
    return dg.AssetObservation("ingest_job", metadata=metadata)
