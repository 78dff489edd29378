"""The sensor of late days: reads finished runs, gives a refresh of the days they touched."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from ami_contract.lake import DataDir
from ami_dagster.defs.analytics.schedules import DAYS_ARE_MADE_AT
from ami_dagster.jobs import REASON_TAG, REFRESH_DAYS, REFRESH_HOURS
from ami_dagster.partitions import DAY, Stretch, day_tags, local_days, zones
from ami_dagster.resources import Lake

HOURS_TAG: Final = "ami/hours"


def made_days(days: Iterable[date], now: datetime) -> list[date]:
    """Those of the days that the daily schedule has made by `now`, so that it is not to come."""
    return [
        day
        for day in days
        if datetime.combine(day + DAY, time(), UTC) + DAYS_ARE_MADE_AT + timedelta(minutes=1) <= now
    ]


def late_days_sensor(
    hours_job: UnresolvedAssetJobDefinition,
    days_job: UnresolvedAssetJobDefinition,
    sites: Callable[[DataDir], list[ZoneInfo]] = zones,
) -> dg.SensorDefinition:
    """After a refresh of hours, has the days refreshed that were made before it.

    Args:
        hours_job, days_job: the jobs.
        sites: gives the time zones in which days are counted.
    """

    @dg.run_status_sensor(
        name="late_days",
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[hours_job],
        request_job=days_job,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description=(
            f"After a run of {REFRESH_HOURS} over hours of a day that is made already, requests "
            f"{REFRESH_DAYS} for exactly these days."
        ),
    )
    def late_days(context: dg.RunStatusSensorContext, lake: Lake) -> dg.RunRequest | dg.SkipReason:
        run = context.dagster_run
        stretch = Stretch.of_tags(dict(run.tags))
        if stretch is None:
            return dg.SkipReason(f"run {run.run_id} names no hours")
        days = made_days(local_days(stretch.hours, sites(lake.data)), lake.now())
        if not days:
            return dg.SkipReason("its days are still to be made by the schedule")
        return dg.RunRequest(
            run_key=run.run_id,
            tags={
                **day_tags(days[0], days[-1]),
                REASON_TAG: run.tags.get(REASON_TAG, "hours refreshed"),
                HOURS_TAG: f"{stretch.first:%Y-%m-%dT%HZ}..{stretch.last:%Y-%m-%dT%HZ}",
            },
        )

    return late_days
