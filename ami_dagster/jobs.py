"""Jobs: reads the assets, gives the runs that schedules, sensors and `ami build` launch.

| job | what it makes anew | partitions of its runs |
|---|---|---|
| `detect_sags` | the open hour's readings, voltage, pole and feeder events | that hour |
| `refresh_hours` | whole hours and all marts but daily and weekly ones | a stretch of hours |
| `refresh_days` | daily marts | a stretch of days |
| `refresh_weeks` | weekly statistics | none |
| `refresh_calendar` | daily marts and weekly statistics in one run of dbt | a stretch of days |
| `compact_landed_hours` | compaction alone | a stretch of hours |
| `export_day` | files of a table for business users | a day |
| `report_data_quality` | what arrived on a day and what did not | a day |

Every job that runs dbt publishes the warehouse afterwards.
"""

from __future__ import annotations

from typing import Final

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

DETECT_SAGS: Final = "detect_sags"
REFRESH_HOURS: Final = "refresh_hours"
REFRESH_DAYS: Final = "refresh_days"
REFRESH_WEEKS: Final = "refresh_weeks"
REFRESH_CALENDAR: Final = "refresh_calendar"
COMPACT_HOURS: Final = "compact_landed_hours"
EXPORT_DAY: Final = "export_day"
REPORT_QUALITY: Final = "report_data_quality"
EVALUATE_DR: Final = "evaluate_dr_window"
# Dagster's own name for what is materialized by hand or backfilled.
AD_HOC_JOB: Final = "__ASSET_JOB"

REASON_TAG: Final = "ami/reason"
# First day of the week that a run made the statistics of, once all its hours were built.
WEEK_TAG: Final = "ami/week"
# Voltage events that meet the run's hours, once it has published them.
EVENTS_TAG: Final = "ami/events"

# What an operator waits for; all else that a tick builds is upstream of these.
SAG_MARTS: Final = (
    "voltage_events",
    "superseded_events",
    "pole_events",
    "feeder_events",
    "recent_sag_events",
)

UNFINISHED: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def unfinished_run(instance: dg.DagsterInstance, job_name: str) -> dg.RunRecord | None:
    """A run of the job that waits or works, None when there is none."""
    records = instance.get_run_records(
        dg.RunsFilter(job_name=job_name, statuses=UNFINISHED), limit=1
    )
    return records[0] if records else None


def jobs(
    models: dg.AssetsDefinition,
    calendar_models: dg.AssetsDefinition,
    *,
    has_lake: bool = True,
) -> list[UnresolvedAssetJobDefinition]:
    """All jobs over assets.

    Args:
        models: what is refreshed by the hour.
        calendar_models: what is refreshed by the day and week, tagged `daily` or `weekly`.
        has_lake: whether hours are compacted and the warehouse published; in the cloud there is
            nothing but the models.
    """
    hourly = dg.AssetSelection.assets(models)
    calendar = dg.AssetSelection.assets(calendar_models)
    weekly = dg.AssetSelection.tag("weekly", "")
    compacted = dg.AssetSelection.assets(*(["compacted_readings"] if has_lake else []))
    published = dg.AssetSelection.assets(*(["published_warehouse"] if has_lake else []))
    sags = dg.AssetSelection.assets(*SAG_MARTS)
    # The data tests of what lies above the events wait for the hour's refresh.
    detection = (sags.upstream() & hourly).without_checks() | dg.AssetSelection.checks_for_assets(
        *SAG_MARTS
    )
    refreshing = [
        _job(
            DETECT_SAGS,
            compacted | detection | published,
            "Compaction of the open hour; voltage, pole and feeder events; publication.",
        ),
        _job(
            REFRESH_HOURS,
            compacted | hourly | published,
            "Compaction of the run's hours; all models but daily and weekly ones; publication.",
        ),
        _job(REFRESH_DAYS, (calendar - weekly) | published, "Daily marts; publication."),
        _job(REFRESH_WEEKS, weekly | published, "Weekly statistics and indices; publication."),
        _job(REFRESH_CALENDAR, calendar | published, "Daily and weekly marts; publication."),
    ]
    if not has_lake:
        return refreshing
    return [
        *refreshing,
        _job(COMPACT_HOURS, compacted, "Compaction of the run's hours only."),
        _job(
            EXPORT_DAY,
            dg.AssetSelection.assets("exports"),
            "Files of readings or of a mart, by pole, for a UTC day.",
        ),
        _job(
            REPORT_QUALITY,
            dg.AssetSelection.assets("data_quality_report"),
            "Report on the data of a UTC day.",
        ),
        _job(
            EVALUATE_DR,
            dg.AssetSelection.assets("dr_window_report"),
            "What a demand-response window shed; launch it with the window in its config.",
        ),
    ]


def _job(name: str, selection: dg.AssetSelection, description: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=selection,
        # A step in its own process would load everything once more, and steps wait anyway.
        executor_def=dg.in_process_executor,
        description=description,
    )
