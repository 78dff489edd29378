"""Schedules on Google Cloud: reads the tick and what is registered, gives runs.

The ticks are those of the local profile. What is pending is not asked for: BigQuery tells it to
dbt, which takes in every day that has changed, so a tick makes up for those that were missed.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import dagster as dg

from ami_contract.lake import HOUR, floor_hour
from ami_dagster.defs.analytics.schedules import (
    HOUR_IS_CLOSED_AFTER,
    Ticked,
    busy,
    hour_of_tick,
    scheduled,
    week_request,
)
from ami_dagster.defs.lake.sensors import LANDED
from ami_dagster.jobs import (
    DETECT_SAGS,
    REASON_TAG,
    REFRESH_DAYS,
    REFRESH_HOURS,
    REFRESH_WEEKS,
)
from ami_dagster.partitions import DAY, WEEK, Stretch, day_tags, ended_week

_NOTHING_STORED: Final = dg.SkipReason(
    "no day of raw_meter_readings has been registered yet by the sensor landed_days"
)
# The last place on Earth where a week ends; the registry is not read for every tick.
_LAST_ZONE: Final = ZoneInfo("Etc/GMT+12")
_NOT_BUILT: Final = dg.SkipReason(f"{REFRESH_HOURS} has not succeeded yet")


def cloud_schedules(first: datetime) -> list[dg.ScheduleDefinition]:
    """All of them.

    Args:
        first: where the partitions start.
    """
    requests: dict[str, Callable[[dg.ScheduleEvaluationContext], Ticked]] = {
        DETECT_SAGS: _sag_tick,
        REFRESH_HOURS: lambda context: _hour_tick(context, first),
        REFRESH_DAYS: lambda context: _day_tick(context, first),
        REFRESH_WEEKS: lambda context: _week_tick(context, first),
    }
    return [_scheduled(job_name, request) for job_name, request in requests.items()]


def _scheduled(
    job_name: str, request: Callable[[dg.ScheduleEvaluationContext], Ticked]
) -> dg.ScheduleDefinition:
    def ticked(context: dg.ScheduleEvaluationContext) -> Ticked:
        return busy(context, job_name) or request(context)

    return scheduled(job_name, ticked)


def _at(context: dg.ScheduleEvaluationContext) -> datetime:
    return context.scheduled_execution_time.astimezone(UTC)


def _has_readings(instance: dg.DagsterInstance) -> bool:
    return instance.get_latest_materialization_event(LANDED) is not None


def _has_succeeded(instance: dg.DagsterInstance, job_name: str) -> bool:
    succeeded = dg.RunsFilter(job_name=job_name, statuses=[dg.DagsterRunStatus.SUCCESS])
    return bool(instance.get_run_records(succeeded, limit=1))


def _sag_tick(context: dg.ScheduleEvaluationContext) -> Ticked:
    if not _has_readings(context.instance):
        return _NOTHING_STORED
    hour = hour_of_tick(_at(context))
    return dg.RunRequest(
        run_key=_at(context).isoformat(),
        tags={**Stretch(hour, hour).tags, REASON_TAG: "open hour"},
    )


def _hour_tick(context: dg.ScheduleEvaluationContext, first: datetime) -> Ticked:
    if not _has_readings(context.instance):
        return _NOTHING_STORED
    closed = floor_hour(_at(context) - HOUR_IS_CLOSED_AFTER) - HOUR
    # The first build takes in all that there is, and what was missed since the last one.
    oldest = _first_hour_to_build(context.instance, first, closed)
    return dg.RunRequest(
        run_key=_at(context).isoformat(),
        tags={**Stretch(oldest, closed).tags, REASON_TAG: "hour closed"},
    )


def _first_hour_to_build(
    instance: dg.DagsterInstance, first: datetime, closed: datetime
) -> datetime:
    """The hour after the newest that a finished run of the hours covers; `first` before any."""
    built_until = _built_until(instance)
    return min(built_until, closed) if built_until else min(first, closed)


def _built_until(instance: dg.DagsterInstance) -> datetime | None:
    """End of the newest hour that a finished run of the hours covers; None before any."""
    succeeded = dg.RunsFilter(job_name=REFRESH_HOURS, statuses=[dg.DagsterRunStatus.SUCCESS])
    covered = [
        stretch.last + HOUR
        for record in instance.get_run_records(succeeded, limit=20)
        if (stretch := Stretch.of_tags(record.dagster_run.tags))
    ]
    return max(covered, default=None)


def _day_tick(context: dg.ScheduleEvaluationContext, first: datetime) -> Ticked:
    if not _has_succeeded(context.instance, REFRESH_HOURS):
        return _NOT_BUILT
    yesterday = _at(context).date() - DAY
    if first.date() > yesterday:
        return dg.SkipReason("no day has ended since the partitions start")
    # West of Greenwich the local date ends later: the day before is made once more.
    return dg.RunRequest(
        run_key=_at(context).isoformat(),
        tags={
            **day_tags(max(first.date(), yesterday - DAY), yesterday),
            REASON_TAG: "day ended",
        },
    )


def _week_tick(context: dg.ScheduleEvaluationContext, first: datetime) -> Ticked:
    built_until = _built_until(context.instance)
    if built_until is None:
        return _NOT_BUILT
    week, end = ended_week(_at(context), [_LAST_ZONE])
    if first.date() >= week + WEEK:
        return dg.SkipReason("no week has ended since the partitions start")
    if built_until < end:
        return dg.SkipReason(
            f"hours are built until {built_until:%Y-%m-%d %H:00}Z; the week of {week} ends "
            f"everywhere at {end:%Y-%m-%d %H:00}Z"
        )
    return week_request(context, week)
