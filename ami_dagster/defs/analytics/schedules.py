"""Schedules in place of scheduled queries: reads the tick and the lake, gives runs."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final

import dagster as dg

from ami_contract.lake import floor_hour
from ami_dagster.jobs import (
    DETECT_SAGS,
    REASON_TAG,
    REFRESH_DAYS,
    REFRESH_HOURS,
    REFRESH_WEEKS,
    WEEK_TAG,
    unfinished_run,
)
from ami_dagster.partitions import (
    DAY,
    WEEK,
    Stretch,
    day_tags,
    ended_week,
    news,
    oldest_day,
    pending_hours,
    stretches,
    unseen_hours,
    zones,
)
from ami_dagster.resources import Lake
from ami_store.warehouse import built_versions, published_listing

Ticked = list[dg.RunRequest] | dg.RunRequest | dg.SkipReason

# Until then most readings of an hour have come; what comes later is late (`landed_hours`).
HOUR_IS_CLOSED_AFTER: Final = timedelta(minutes=8)
# After midnight UTC.
DAYS_ARE_MADE_AT: Final = timedelta(minutes=40)
# What days and weeks are made of is not there yet.
_NOT_BUILT: Final = dg.SkipReason("no hour has been built yet")


def hour_of_tick(tick: datetime) -> datetime:
    """Hour a 5-minute tick works on: that of 5 minutes before, so hh:00 finishes the hour."""
    return floor_hour(tick.astimezone(UTC) - timedelta(minutes=5))


# Schedules by job: name, cron (UTC), what it is for.
_SCHEDULES: Final = {
    DETECT_SAGS: ("sags_every_5_minutes", "*/5 * * * *", "Sag detection over the open hour."),
    REFRESH_HOURS: (
        "hours_hourly",
        f"{HOUR_IS_CLOSED_AFTER.seconds // 60} * * * *",
        (
            "Pole health, data quality, DR baselines and all else by the hour, for every closed "
            "hour that no complete build has seen: the last one, and what was missed or failed."
        ),
    ),
    REFRESH_DAYS: (
        "days_daily",
        f"{DAYS_ARE_MADE_AT.seconds // 60} 0 * * *",
        "Pole and feeder health and voltage quality of the days up to yesterday (UTC).",
    ),
    REFRESH_WEEKS: (
        "weeks_weekly",
        "20 * * * *",
        (
            "EN 50160 verdicts of the week and SARFI indices, once a week: as soon as it has ended "
            "at every site and its last hour is built."
        ),
    ),
}


def schedules() -> list[dg.ScheduleDefinition]:
    """All of them; they run unless switched off in the UI, and skip ticks of a running job."""
    requests: dict[str, Callable[[dg.ScheduleEvaluationContext, Lake], Ticked]] = {
        DETECT_SAGS: _at_tick(_sag_tick),
        REFRESH_HOURS: _at_tick(_hour_tick),
        REFRESH_DAYS: _at_tick(_day_tick),
        REFRESH_WEEKS: _week_tick,
    }
    return [_over_lake(job_name, request) for job_name, request in requests.items()]


def _at_tick(
    request: Callable[[datetime, Lake], Ticked],
) -> Callable[[dg.ScheduleEvaluationContext, Lake], Ticked]:
    """`request` for evaluations of which nothing but the tick counts."""
    return lambda context, lake: request(context.scheduled_execution_time, lake)


def _over_lake(
    job_name: str, request: Callable[[dg.ScheduleEvaluationContext, Lake], Ticked]
) -> dg.ScheduleDefinition:
    def ticked(context: dg.ScheduleEvaluationContext, lake: Lake) -> Ticked:
        return busy(context, job_name) or request(context, lake)

    return scheduled(job_name, ticked)


def _sag_tick(tick: datetime, lake: Lake) -> Ticked:
    hour = hour_of_tick(tick)
    if not news(lake.data, hour):
        return dg.SkipReason(f"nothing new has landed for {hour:%Y-%m-%d %H:00}Z")
    return dg.RunRequest(
        run_key=tick.isoformat(), tags={**Stretch(hour, hour).tags, REASON_TAG: "open hour"}
    )


def _hour_tick(tick: datetime, lake: Lake) -> Ticked:
    # A tick that is made up for after a standstill takes in all hours that have closed since.
    closed = floor_hour(max(tick.astimezone(UTC), lake.now()) - HOUR_IS_CLOSED_AFTER)
    requests = [
        dg.RunRequest(
            run_key=f"{tick.isoformat()} {stretch.first.isoformat()}",
            tags={**stretch.tags, REASON_TAG: "hour closed"},
        )
        for stretch in stretches(pending_hours(lake.data, until=closed))
    ]
    return requests or dg.SkipReason("every closed hour is in the published warehouse")


def _day_tick(tick: datetime, lake: Lake) -> Ticked:
    if not built_versions(lake.data):
        return _NOT_BUILT
    yesterday = tick.astimezone(UTC).date() - DAY
    oldest = oldest_day(lake.data)
    if oldest is None or oldest > yesterday:
        return dg.SkipReason("no day has ended since the first reading")
    # West of Greenwich the local date ends later: the day before is made once more.
    first = max(oldest, yesterday - DAY)
    return dg.RunRequest(
        run_key=tick.isoformat(), tags={**day_tags(first, yesterday), REASON_TAG: "day ended"}
    )


def _week_tick(context: dg.ScheduleEvaluationContext, lake: Lake) -> Ticked:
    listed_at = published_listing(lake.data)
    if listed_at is None or not built_versions(lake.data):
        return _NOT_BUILT
    now = max(context.scheduled_execution_time.astimezone(UTC), lake.now())
    first, end = ended_week(now, zones(lake.data))
    oldest = oldest_day(lake.data)
    if oldest is None or oldest >= first + WEEK:
        return dg.SkipReason("no week has ended since the first reading")
    asked = week_request(context, first)
    if isinstance(asked, dg.SkipReason):
        return asked
    if listed_at < end + HOUR_IS_CLOSED_AFTER:
        return dg.SkipReason(f"nothing has been built since the week of {first} ended")
    unseen = unseen_hours(lake.data, end)
    if unseen:
        return dg.SkipReason(
            f"{len(unseen)} hours before the end of the week of {first} are not built yet, "
            f"{unseen[0]:%Y-%m-%d %H:00}Z the first"
        )
    return asked


def week_request(context: dg.ScheduleEvaluationContext, first: date) -> Ticked:
    """A run for the week that began on `first`, unless one has made it already."""
    made = dg.RunsFilter(
        job_name=REFRESH_WEEKS,
        tags={WEEK_TAG: first.isoformat()},
        statuses=[dg.DagsterRunStatus.SUCCESS],
    )
    if context.instance.get_run_records(made, limit=1):
        return dg.SkipReason(f"the week of {first} is made")
    return dg.RunRequest(
        run_key=context.scheduled_execution_time.isoformat(),
        tags={REASON_TAG: "week ended", WEEK_TAG: first.isoformat()},
    )


def scheduled(job_name: str, evaluate: Callable[..., Ticked]) -> dg.ScheduleDefinition:
    """The schedule of a job.

    Args:
        job_name: one of those that are scheduled.
        evaluate: what a tick asks for, with the resources it names.
    """
    name, cron, description = _SCHEDULES[job_name]
    decorate = dg.schedule(
        name=name,
        job_name=job_name,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    return decorate(evaluate)


def busy(context: dg.ScheduleEvaluationContext, job_name: str) -> dg.SkipReason | None:
    """Why a tick is skipped while a run of its job has not ended; None when none works."""
    running = unfinished_run(context.instance, job_name)
    if running is None:
        return None
    return dg.SkipReason(f"run {running.dagster_run.run_id} of {job_name} has not ended")
