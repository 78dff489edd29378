"""The nightly retention: reads settings, gives back the space of what is older than they say."""

from datetime import UTC
from typing import Final

import dagster as dg

from ami_contract.errors import AmiError
from ami_contract.settings import Settings
from ami_dagster.defs.analytics.schedules import busy
from ami_dagster.jobs import REASON_TAG
from ami_dagster.resources import Lake
from ami_dagster.run_retention import prune_runs
from ami_store.retention import Kept, Removed, apply_retention, first_kept

APPLY_RETENTION: Final = "apply_retention"
RETENTION_NIGHTLY: Final = "retention_nightly"


def kept_in_lake(settings: Settings) -> Kept:
    """How long what lies in the data folder is kept; nothing does so in the profile gcp."""
    if settings.profile == "gcp":
        return Kept()
    return Kept(
        archive_days=settings.retention_archive_days,
        dead_letter_days=settings.retention_dead_letter_days,
        quarantine_days=settings.retention_quarantine_days,
        copies_days=settings.retention_copies_days,
    )


def retention_job(settings: Settings) -> dg.JobDefinition:
    """The job `apply_retention`."""
    kept, runs_days = kept_in_lake(settings), settings.retention_runs_days

    @dg.op(
        name="delete_what_is_old",
        description=(
            "Deletes whole days of archive, dead letter, quarantine and copies, and ended runs "
            "that no partition needs, as the settings AMI_RETENTION_… say; what they do not name "
            "is kept. Readings and marts are always kept."
        ),
    )
    def delete_what_is_old(context: dg.OpExecutionContext, lake: Lake) -> None:
        now = lake.now()
        try:
            removed = apply_retention(lake.data, kept, now=now)
        except AmiError as error:
            raise dg.Failure(str(error)) from None
        if runs_days:
            runs = prune_runs(context.instance, first_kept(now, runs_days))
            removed["runs"] = Removed(files=runs)
        context.add_output_metadata(
            {
                name: f"{each.files} removed" + (f", {each.bytes} bytes" if each.bytes else "")
                for name, each in removed.items()
            }
        )
        for name, each in removed.items():
            context.log.info("%s: %d removed, %d bytes", name, each.files, each.bytes)

    @dg.job(
        name=APPLY_RETENTION,
        executor_def=dg.in_process_executor,
        description="Deletes what is older than AMI_RETENTION_… keep it; nothing by default.",
    )
    def retain() -> None:
        delete_what_is_old()

    return retain


def retention_schedule() -> dg.ScheduleDefinition:
    """`retention_nightly`, after the marts of the day are made."""

    @dg.schedule(
        name=RETENTION_NIGHTLY,
        job_name=APPLY_RETENTION,
        cron_schedule="30 2 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Deletes what is older than the settings keep it, at 02:30 UTC.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time.astimezone(UTC)
        return busy(context, APPLY_RETENTION) or dg.RunRequest(
            run_key=tick.isoformat(), tags={REASON_TAG: "night"}
        )

    return nightly
