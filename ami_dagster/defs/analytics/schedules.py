"""The 5-minute schedule: reads the tick and the lake, gives a refresh of the hour it belongs to."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from ami_contract.lake import HOUR, floor_hour
from ami_dagster.partitions import Stretch, pending_hours
from ami_dagster.resources import Lake

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def hour_of_tick(tick: datetime) -> datetime:
    """Hour a 5-minute tick works on: that of 5 minutes before, so hh:00 finishes the hour."""
    return floor_hour(tick.astimezone(UTC) - timedelta(minutes=5))


def refresh_schedule(job_name: str) -> dg.ScheduleDefinition:
    """Every 5 minutes: compaction of the open hour, all models, publication."""

    @dg.schedule(
        job_name=job_name,
        cron_schedule="*/5 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sag detection and everything else over the open hour, every 5 minutes.",
    )
    def refresh_every_5_minutes(
        context: dg.ScheduleEvaluationContext, lake: Lake
    ) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time
        hour = hour_of_tick(tick)
        if not pending_hours(lake.data, hour, hour + HOUR):
            return dg.SkipReason(f"nothing new has landed for {hour:%Y-%m-%d %H:00}Z")
        running = context.instance.get_run_records(
            dg.RunsFilter(job_name=job_name, statuses=UNFINISHED), limit=1
        )
        if running:
            return dg.SkipReason(f"run {running[0].dagster_run.run_id} is still refreshing")
        return dg.RunRequest(run_key=tick.isoformat(), tags=Stretch(hour, hour).tags)

    return refresh_every_5_minutes
