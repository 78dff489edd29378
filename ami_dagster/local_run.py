"""Runs without the UI: reads what is pending, gives finished Dagster runs in this process.

The runs are recorded in the instance like any other, so the UI shows them afterwards.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg
import psutil

from ami_contract.lake import HOUR, DataDir, floor_hour
from ami_dagster.build import DBT_PROJECT_DIR
from ami_dagster.dbt_sources import dbt_sources
from ami_dagster.defs.lake.sensors import landed_events, registered_versions
from ami_dagster.jobs import (
    COMPACT_HOURS,
    REASON_TAG,
    REFRESH_CALENDAR,
    REFRESH_HOURS,
    UNFINISHED,
)
from ami_dagster.partitions import (
    Stretch,
    day_tags,
    local_days,
    pending_hours,
    stretches,
    zones,
)
from ami_store.lake import hours
from ami_store.quarantine import quarantined
from ami_store.warehouse import published_listing

_PID_TAG: Final = "ami/pid"
_HOST_TAG: Final = "ami/host"
_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Outcome:
    """What a build did.

    Attributes:
        hours: hours that were pending.
        runs: ids of the Dagster runs.
        failures: one sentence for every step or check that failed; empty when all went well.
    """

    hours: int
    runs: list[str]
    failures: list[str]


@contextmanager
def instance_of(home: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance whose folder is `home`."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def end_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs of killed `ami build` processes as failed and free what they held.

    Nothing else watches a run that lives in the process that asked for it. Returns their ids.
    """
    ended = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        run = record.dagster_run
        pid = run.tags.get(_PID_TAG)
        if not pid or run.tags.get(_HOST_TAG) != socket.gethostname():
            continue
        if _is_alive(int(pid), since=record.create_timestamp.timestamp()):
            continue
        instance.report_run_failed(run, f"process {pid} ended before its run")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    return ended


def _is_alive(pid: int, since: float) -> bool:
    try:
        return psutil.Process(pid).create_time() <= since
    except psutil.NoSuchProcess:
        return False


def register_landed(
    instance: dg.DagsterInstance, data: DataDir, report: Callable[[str], None]
) -> int:
    """Do what the landing sensor does, now; returns how many hours were registered."""
    events = landed_events(hours(data), registered_versions(instance))
    for number, event in enumerate(events, 1):
        instance.report_runless_asset_event(event)
        if number % 500 == 0:
            report(f"registered {number} of {len(events)} landed hours")
    return len(events)


def needs_rebuild(data: DataDir) -> bool:
    """Whether the registry or a source of dbt changed after the snapshot's lake was listed."""
    listed_at = published_listing(data)
    if listed_at is None:
        return True
    sources = [*dbt_sources(DBT_PROJECT_DIR), data.registry]
    return any(path.stat().st_mtime > listed_at.timestamp() for path in sources if path.exists())


def build_pending(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    data: DataDir,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Materialize everything that is pending.

    Args:
        definitions: loaded after the readings landed, so that the partitions cover them.
        instance: where runs are recorded.
        data: where lake and warehouse lie.
        since, until: only hours within [since, until).
        report: called with one line per stage.
    """
    for run_id in end_abandoned_runs(instance):
        report(f"run {run_id} of a killed process ended as failed; its work is done again")
    registered = register_landed(instance, data, report)
    if registered:
        report(f"registered {registered} landed hours")
    pending = pending_hours(data, since, until)
    if not pending and not needs_rebuild(data):
        report("nothing is pending: every landed hour is in the published warehouse")
        return Outcome(0, [], [])
    runs: list[str] = []
    for job_name, span, tags in _todo(data, pending):
        report(f"{job_name} {span}".rstrip())
        result = definitions.resolve_job_def(job_name).execute_in_process(
            instance=instance,
            run_config=_QUIET,
            tags={
                **tags,
                REASON_TAG: "ami build",
                _PID_TAG: str(os.getpid()),
                _HOST_TAG: socket.gethostname(),
            },
            raise_on_error=False,
        )
        runs.append(result.run_id)
        if _was_interrupted(result):
            raise dg.DagsterExecutionInterruptedError
        if not result.success:
            return Outcome(len(pending), runs, _failures(result))
    for found in quarantined(data):
        report(
            f"{found.path} is damaged ({found.reason}) and was set aside; `{found.remedy}` stores "
            "its readings again from the archive"
        )
    return Outcome(len(pending), runs, [])


def _todo(data: DataDir, pending: list[datetime]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Jobs to run, one after another: name, its span for people, its partitions as tags."""
    # With nothing pending but other models, seeds or another registry, one hour stands for all.
    newest = [hour.start for hour in hours(data)][-1:] or [floor_hour(datetime.now(UTC)) - HOUR]
    starts = pending or newest
    *earlier, last = stretches(starts)
    for stretch in earlier:
        yield COMPACT_HOURS, _span(stretch), stretch.tags
    yield REFRESH_HOURS, _span(last), last.tags
    days = local_days(starts, zones(data))
    yield REFRESH_CALENDAR, f"{days[0]} … {days[-1]}", day_tags(days[0], days[-1])


def _span(stretch: Stretch) -> str:
    return f"{stretch.first:%Y-%m-%d %H:00} … {stretch.last:%Y-%m-%d %H:59}Z"


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether Ctrl-C ended a step; depending on where it hits, Dagster records it as a failure."""
    errors = [
        error
        for event in result.all_events
        if event.is_step_failure and (error := event.step_failure_data.error)
    ]
    return any(
        each.cls_name == dg.DagsterExecutionInterruptedError.__name__
        # DuckDB's own words when the signal meets it amid a query.
        or "Query interrupted" in each.message
        for error in errors
        for each in (error, error.cause)
        if each
    )


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    failed = []
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
                failed.append(f"check {check.check_name} on {check.asset_key.to_user_string()}")
        elif event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error and error.cause else error
            message = cause.message.strip() if cause else "failed"
            failed.append(f"step {event.step_key}: {message}")
    return failed or ["the run failed; see its log in the Dagster UI"]
