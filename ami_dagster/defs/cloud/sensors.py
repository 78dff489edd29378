"""Sensors on Google Cloud: read the job, its backlog and BigQuery, give alerts, events and runs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import dagster as dg

from ami_contract.errors import AmiError
from ami_contract.lake import HOUR
from ami_dagster.alerts.book import Book, Channel, Hold
from ami_dagster.alerts.kinds import AlertKind
from ami_dagster.alerts.observation import Watch
from ami_dagster.cloud import DayStored, GoogleCloud, RawTable
from ami_dagster.defs.alerts.sensors import DATA_FLOW, due_check, flow_hold, tell_flow
from ami_dagster.defs.cloud.look import METERS_EVERY, job_observation, observe_cloud
from ami_dagster.defs.lake.sensors import DATA_VERSION_TAG, LANDED, registered_versions
from ami_dagster.jobs import REASON_TAG, REFRESH_HOURS, unfinished_run
from ami_dagster.partitions import DAY, Stretch

LANDED_DAYS: Final = "landed_days"
# BigQuery empties the buffer of rows that stream in within 90 minutes.
DAY_IS_CLOSED_AFTER: Final = timedelta(hours=2)
# Restating a day reads all of it.
LATE_EVERY: Final = timedelta(hours=1)
_OBSERVED_EVERY: Final = timedelta(minutes=5)
_METERS_AT: Final = "meters_at"
_OBSERVED: Final = "observed"
_OBSERVED_AT: Final = "observed_at"
# Judged by meters, which are looked at every ten minutes.
_JUDGED_BY_METERS: Final = frozenset(
    {AlertKind.METER_SILENT, AlertKind.POLE_SILENT, AlertKind.NOTHING_ARRIVES}
)


def cloud_hold(kind: AlertKind) -> Hold:
    """How long a change of the flow has to last until people are told."""
    return Hold(evaluations=2) if kind in _JUDGED_BY_METERS else flow_hold(kind)


def cloud_flow_sensor(watch: Watch, channels: Sequence[Channel]) -> dg.SensorDefinition:
    """Tells which hop is stale, once per change; observes the Dataflow job; reports the poles."""

    @dg.sensor(
        name=DATA_FLOW,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Observes the Dataflow job (state, system lag, backlog of its subscription), tells "
            "which hop of the way is stale and alerts once per change; every ten minutes asks "
            "BigQuery when every meter was heard and reports the check poles_are_heard. Starts no "
            "run."
        ),
    )
    def data_flow(
        context: dg.SensorEvaluationContext, cloud: GoogleCloud, raw_table: RawTable
    ) -> dg.SensorResult:
        now = cloud.now()
        book = Book.of_cursor(context.cursor)
        with_meters = _is_due(book, _METERS_AT, METERS_EVERY, now)
        look = observe_cloud(
            cloud, raw_table, context.instance, watch, now, with_meters=with_meters
        )
        said = tell_flow(context, book, look, watch, channels, cloud_hold)
        events: list[dg.AssetObservation | dg.AssetCheckEvaluation] = [
            *due_check(book, look, watch, METERS_EVERY)
        ]
        assert look.seen.job is not None
        state = f"{look.seen.job.job_id} {look.seen.job.state}"
        is_due = _is_due(book, _OBSERVED_AT, _OBSERVED_EVERY, now)
        if is_due or book.notes.get(_OBSERVED) != state:
            book.notes[_OBSERVED] = state
            book.notes[_OBSERVED_AT] = now.isoformat()
            events.append(job_observation(look))
        return dg.SensorResult(asset_events=events, cursor=book.cursor(), skip_reason=said)

    return data_flow


def _is_due(book: Book, note: str, every: timedelta, now: datetime) -> bool:
    """Whether `every` has passed since the noted time; notes the time when it has."""
    known = book.notes.get(note)
    if known and now - datetime.fromisoformat(known) < every:
        return False
    book.notes[note] = now.isoformat()
    return True


def day_events(
    found: Mapping[date, DayStored], known: Mapping[str, str]
) -> list[dg.AssetMaterialization]:
    """One event for every day whose rows are not those that were registered."""
    return [
        dg.AssetMaterialization(
            LANDED,
            partition=day.isoformat(),
            metadata={
                "dagster/partition_row_count": stored.rows,
                "logical_bytes": stored.logical_bytes,
                "last_modified": stored.modified_at.isoformat(),
            },
            tags={DATA_VERSION_TAG: stored.version},
        )
        for day, stored in sorted(found.items())
        if known.get(day.isoformat()) != stored.version
    ]


def late_days_of(
    found: Mapping[date, DayStored], known: Mapping[str, str], now: datetime
) -> list[date]:
    """Closed days that were registered with fewer rows than they have now, ascending.

    What is in the buffer when a day ends belongs to the day; it is no late reading.
    """
    return [
        day
        for day, stored in sorted(found.items())
        if day.isoformat() in known
        and known[day.isoformat()] != stored.version
        and stored.modified_at >= _end(day) + DAY_IS_CLOSED_AFTER
        and now >= _end(day) + DAY_IS_CLOSED_AFTER
    ]


def _end(day: date) -> datetime:
    return datetime.combine(day + DAY, time(), UTC)


def day_stretches(days: Iterable[date]) -> list[Stretch]:
    """Hours of the days, those of neighbouring days in one stretch."""
    found: list[Stretch] = []
    for day in days:
        first, last = _end(day) - DAY, _end(day) - HOUR
        if found and found[-1].last + HOUR == first:
            found[-1] = Stretch(found[-1].first, last)
        else:
            found.append(Stretch(first, last))
    return found


def landed_days_sensor(days: dg.DailyPartitionsDefinition) -> dg.SensorDefinition:
    """Registers the days that BigQuery holds and has late days restated."""

    @dg.sensor(
        name=LANDED_DAYS,
        job_name=REFRESH_HOURS,
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Registers every day partition of raw_meter_readings whose rows have changed, from "
            f"BigQuery's metadata; requests {REFRESH_HOURS} for closed days with readings that "
            "came late, at most every hour."
        ),
    )
    def landed_days(
        context: dg.SensorEvaluationContext, cloud: GoogleCloud, raw_table: RawTable
    ) -> dg.SensorResult:
        now = cloud.now()
        try:
            everything = raw_table.days()
        except AmiError as error:
            context.log.error("%s", error)
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        first = days.start.date()
        found = {day: stored for day, stored in everything.items() if day >= first}
        if len(found) < len(everything):
            context.log.warning(
                "%d days lie before %s, where the partitions start; set AMI_BIGQUERY_FIRST_DAY",
                len(everything) - len(found),
                first.isoformat(),
            )
        known = registered_versions(context.instance)
        late = late_days_of(found, known, now)
        asked_at = datetime.fromisoformat(context.cursor) if context.cursor else None
        may_ask = not (asked_at and now < asked_at + LATE_EVERY) and not unfinished_run(
            context.instance, REFRESH_HOURS
        )
        if not late or not may_ask:
            # A late day stays unregistered, and so late, until its run is requested.
            told = {day: stored for day, stored in found.items() if day not in late}
            return dg.SensorResult(asset_events=day_events(told, known), cursor=context.cursor)
        versions = json.dumps({day.isoformat(): found[day].version for day in late})
        return dg.SensorResult(
            asset_events=day_events(found, known),
            run_requests=[
                dg.RunRequest(
                    run_key=f"{stretch.first.isoformat()} {versions}",
                    tags={**stretch.tags, REASON_TAG: "late readings"},
                )
                for stretch in day_stretches(late)
            ],
            cursor=now.isoformat(),
        )

    return landed_days
