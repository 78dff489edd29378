"""Sensors and schedules of the profile gcp with a clock of their own, on real Google clients."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import grpc
import pytest
from google_stand_ins import NOW, ClockedCloud, Dataflow, Web

from ami_contract.settings import Settings
from ami_dagster.alerts.book import Book, Notice
from ami_dagster.alerts.hops import Limits
from ami_dagster.alerts.kinds import AlertKind
from ami_dagster.alerts.observation import Watch
from ami_dagster.cloud import OLDEST_AGE, SYSTEM_LAG, UNDELIVERED, Archive, DayStored, RawTable
from ami_dagster.defs.cloud.checks import archive_check
from ami_dagster.defs.cloud.schedules import cloud_schedules
from ami_dagster.defs.cloud.sensors import (
    cloud_flow_sensor,
    day_stretches,
    landed_days_sensor,
    late_days_of,
)
from ami_dagster.defs.retention import retention_schedule

DAYS = dg.DailyPartitionsDefinition(start_date="2026-02-20", end_offset=1)
PARTITIONS = {
    "partition_id": "STRING",
    "total_rows": "INTEGER",
    "total_logical_bytes": "INTEGER",
    "modified_us": "INTEGER",
}
HEARD = {"meter_id": "STRING", "pole_id": "STRING", "event_us": "INTEGER"}
SERVICE = {
    "meter_id": "STRING",
    "pole_id": "STRING",
    "sample_interval_ms": "INTEGER",
    "from_us": "INTEGER",
}
LIMITS = Limits(timedelta(minutes=10), timedelta(minutes=5), timedelta(minutes=10))


class Kept:
    """A channel that keeps what it is told."""

    name = "kept"

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def send(self, notice: Notice) -> None:
        self.notices.append(notice)


def us(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def landed(web: Web, *days: tuple[str, int, datetime]) -> None:
    rows = [[day, rows, rows * 160, us(at)] for day, rows, at in days]
    web.tables["INFORMATION_SCHEMA.PARTITIONS"] = (PARTITIONS, rows)


def speaking(web: Web, *, silent_for: timedelta) -> None:
    """One meter in service that was heard so long ago."""
    web.tables["GROUP BY meter_id"] = (HEARD, [["m1", "p1", us(NOW - silent_for)]])
    web.tables["valid_from <= @now"] = (SERVICE, [["m1", "p1", 1000, us(NOW) - 10**12]])


def tick(
    sensor: dg.SensorDefinition,
    instance: dg.DagsterInstance,
    cursor: str | None,
    **resources: object,
) -> dg.SensorResult:
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for event in result.asset_events or []:
        instance.report_runless_asset_event(event)
    return result


def test_days_of_the_table_become_partitions_once(
    web: Web, raw_table: RawTable, cloud: ClockedCloud, instance: dg.DagsterInstance
) -> None:
    landed(web, ("20260228", 100, NOW - timedelta(hours=20)), ("20260301", 7, NOW))
    sensor = landed_days_sensor(DAYS)

    first = tick(sensor, instance, None, cloud=cloud, raw_table=raw_table)
    again = tick(sensor, instance, first.cursor, cloud=cloud, raw_table=raw_table)

    told = {event.partition: event for event in first.asset_events}  # type: ignore[union-attr]
    assert set(told) == {"2026-02-28", "2026-03-01"}
    assert told["2026-02-28"].metadata["dagster/partition_row_count"].value == 100
    assert told["2026-02-28"].metadata["logical_bytes"].value == 16_000
    assert again.asset_events == []
    assert not first.run_requests
    query = web.queries[0]
    assert int(query["maximumBytesBilled"]) == 1024**3
    assert query["queryParameters"][0]["parameterValue"]["value"] == "raw_meter_readings"


def test_a_day_with_late_rows_is_restated_and_stays_late_until_it_is_asked_for(
    web: Web, raw_table: RawTable, cloud: ClockedCloud, instance: dg.DagsterInstance
) -> None:
    sensor = landed_days_sensor(DAYS)
    landed(web, ("20260227", 100, datetime(2026, 2, 28, 1, tzinfo=UTC)))
    tick(sensor, instance, None, cloud=cloud, raw_table=raw_table)
    landed(web, ("20260227", 101, NOW))

    @dg.job(name="refresh_hours")
    def job() -> None:
        pass

    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    waiting = tick(sensor, instance, None, cloud=cloud, raw_table=raw_table)
    assert waiting.asset_events == []
    assert not waiting.run_requests
    instance.delete_run(run.run_id)
    asked = tick(sensor, instance, waiting.cursor, cloud=cloud, raw_table=raw_table)
    assert [event.partition for event in asked.asset_events or []] == ["2026-02-27"]  # type: ignore[union-attr]
    assert asked.run_requests is not None
    (request,) = asked.run_requests
    assert request.tags["dagster/asset_partition_range_start"] == "2026-02-27-00:00"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-02-27-23:00"
    assert request.tags["ami/reason"] == "late readings"

    landed(web, ("20260227", 102, NOW))
    assert not tick(sensor, instance, asked.cursor, cloud=cloud, raw_table=raw_table).run_requests
    cloud.sleep(3600)
    assert tick(sensor, instance, asked.cursor, cloud=cloud, raw_table=raw_table).run_requests


def test_rows_that_leave_the_buffer_after_midnight_are_not_late() -> None:
    day = date(2026, 2, 27)
    known = {"2026-02-27": "before"}

    def late(modified: datetime, now: datetime) -> list[date]:
        return late_days_of({day: DayStored(1, 160, modified)}, known, now)

    assert late(datetime(2026, 2, 28, 1, 59, tzinfo=UTC), NOW) == []
    assert late(datetime(2026, 2, 28, 2, 0, tzinfo=UTC), NOW) == [day]
    assert late_days_of({day: DayStored(1, 160, NOW)}, {}, NOW) == []


def test_neighbouring_days_are_one_stretch() -> None:
    days = [date(2026, 2, 26), date(2026, 2, 27), date(2026, 3, 1)]
    assert [(str(s.first), len(s.hours)) for s in day_stretches(days)] == [
        ("2026-02-26 00:00:00+00:00", 48),
        ("2026-03-01 00:00:00+00:00", 24),
    ]


def test_days_before_the_partitions_are_left_out_and_said(
    web: Web, raw_table: RawTable, cloud: ClockedCloud, instance: dg.DagsterInstance
) -> None:
    landed(web, ("20260101", 5, NOW - timedelta(days=50)))
    result = tick(landed_days_sensor(DAYS), instance, None, cloud=cloud, raw_table=raw_table)
    assert result.asset_events == []


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ((404, "notFound", "Not found: Dataset grid:x"), "does not exist: "),
        ((403, "accessDenied", "Access Denied: bigquery.jobs.create"), "may not be seen"),
    ],
)
def test_a_missing_dataset_or_role_is_one_line(
    problem: tuple[int, str, str],
    said: str,
    web: Web,
    raw_table: RawTable,
    cloud: ClockedCloud,
    instance: dg.DagsterInstance,
) -> None:
    web.problem = problem
    result = tick(landed_days_sensor(DAYS), instance, "2026-03-01T00:00:00+00:00",
                  cloud=cloud, raw_table=raw_table)  # fmt: skip
    reason = result.skip_reason
    text = reason if isinstance(reason, str) else (reason.skip_message if reason else "")
    assert text is not None
    assert "BigQuery dataset grid.smart_grid_analytics" in text
    assert said in text
    assert "\n" not in text
    assert result.cursor == "2026-03-01T00:00:00+00:00"


def test_missing_credentials_are_one_line_and_make_the_pipeline_stale(
    no_credentials: None, raw_table: RawTable, instance: dg.DagsterInstance
) -> None:
    cloud = ClockedCloud(project_id="grid", region="r", job_name="ami-ingest", subscription="s")
    landing = tick(landed_days_sensor(DAYS), instance, None, cloud=cloud, raw_table=raw_table)
    flow = tick(cloud_flow_sensor(Watch(limits=LIMITS), []), instance, None,
                cloud=cloud, raw_table=raw_table)  # fmt: skip
    for result in (landing, flow):
        text = str(result.skip_reason)
        assert "no Google credentials found; run `gcloud auth application-default login`" in text
        assert "\\n" not in text
    assert "the job ami-ingest cannot be observed" in str(flow.skip_reason)


def running(dataflow: Dataflow, lag_s: float = 3.0, waiting: int = 0, oldest_s: float = 0) -> None:
    dataflow.put("job-1", "DRAINED", made=1)
    dataflow.put("job-3", "RUNNING", made=3)
    dataflow.put("job-2", "CANCELLED", made=5)
    dataflow.metrics = {
        (SYSTEM_LAG, "job-3"): lag_s,
        (UNDELIVERED, "ami-meter-data-sub"): waiting,
        (OLDEST_AGE, "ami-meter-data-sub"): oldest_s,
    }


def test_the_job_its_lag_and_its_backlog_are_observed(
    dataflow: Dataflow, web: Web, raw_table: RawTable, cloud: ClockedCloud,
    instance: dg.DagsterInstance,
) -> None:  # fmt: skip
    running(dataflow, lag_s=4.5, waiting=12, oldest_s=2)
    speaking(web, silent_for=timedelta(seconds=20))
    sensor = cloud_flow_sensor(Watch(limits=LIMITS), [])

    first = tick(sensor, instance, None, cloud=cloud, raw_table=raw_table)
    again = tick(sensor, instance, first.cursor, cloud=cloud, raw_table=raw_table)

    seen = [event for event in first.asset_events or [] if isinstance(event, dg.AssetObservation)]
    assert {name: value.value for name, value in seen[0].metadata.items()} == {
        "job": "ami-ingest",
        "state": "RUNNING",
        "job_id": "job-3",
        "in_state_since": "2026-03-01T00:03:00+00:00",
        "system_lag_s": 4.5,
        "messages_waiting": 12,
        "oldest_message_s": 2.0,
    }
    checks = [e for e in first.asset_events or [] if isinstance(e, dg.AssetCheckEvaluation)]
    assert [check.passed for check in checks] == [True]
    assert again.asset_events == []
    assert "pole: fresh" in str(first.skip_reason)
    # Meters cost a query, so they are not asked for every minute.
    assert "pole: unknown" in str(again.skip_reason)
    assert "pipeline: fresh" in str(again.skip_reason)
    assert len(web.queries) == 2
    cloud.sleep(600)
    tick(sensor, instance, again.cursor, cloud=cloud, raw_table=raw_table)
    assert len(web.queries) == 4


@pytest.mark.parametrize(
    ("state", "lag_s", "oldest_s", "said"),
    [
        ("FAILED", 3, 0, "the job ami-ingest (job-9) is FAILED since 2026-03-01 00:09Z"),
        ("DRAINING", 3, 0, "the job ami-ingest (job-9) is DRAINING since"),
        ("RUNNING", 3600, 0, "the job ami-ingest lags 60 min behind"),
        ("RUNNING", 3, 900, "5 messages wait, the oldest for 15 min, though the job ami-ingest"),
        (None, 3, 900, "there is no job ami-ingest"),
    ],
)
def test_a_job_that_does_not_run_or_lags_alerts_once_as_ingest_and_recovers(
    state: str | None, lag_s: float, oldest_s: float, said: str, dataflow: Dataflow, web: Web,
    raw_table: RawTable, cloud: ClockedCloud, instance: dg.DagsterInstance,
) -> None:  # fmt: skip
    channel = Kept()
    sensor = cloud_flow_sensor(Watch(limits=LIMITS), [channel])
    speaking(web, silent_for=timedelta(hours=1))
    if state:
        dataflow.put("job-9", state, made=9)
    dataflow.metrics = {
        (SYSTEM_LAG, "job-9"): lag_s,
        (UNDELIVERED, "ami-meter-data-sub"): 5,
        (OLDEST_AGE, "ami-meter-data-sub"): oldest_s,
    }
    cursor: str | None = None
    for _ in range(6):
        cursor = tick(sensor, instance, cursor, cloud=cloud, raw_table=raw_table).cursor
        cloud.sleep(60)
    assert [(n.kind, n.event) for n in channel.notices] == [(AlertKind.INGEST_STALLED, "alert")]
    assert said in channel.notices[0].text

    dataflow.put("job-9", "RUNNING", made=9)
    dataflow.metrics = {(SYSTEM_LAG, "job-9"): 1.0, (UNDELIVERED, "ami-meter-data-sub"): 0}
    for _ in range(4):
        cursor = tick(sensor, instance, cursor, cloud=cloud, raw_table=raw_table).cursor
        cloud.sleep(60)
    assert (channel.notices[1].kind, channel.notices[1].event) == (
        AlertKind.INGEST_STALLED,
        "recovery",
    )


def test_a_job_that_comes_up_is_not_stale_within_the_limit(
    dataflow: Dataflow, web: Web, raw_table: RawTable, cloud: ClockedCloud,
    instance: dg.DagsterInstance,
) -> None:  # fmt: skip
    speaking(web, silent_for=timedelta())
    dataflow.put("job-1", "PENDING")
    dataflow.jobs["job-1"].current_state_time = NOW - timedelta(minutes=4)
    sensor = cloud_flow_sensor(Watch(limits=LIMITS), [])
    first = tick(sensor, instance, None, cloud=cloud, raw_table=raw_table)
    assert "pipeline: fresh" in str(first.skip_reason)
    cloud.sleep(120)
    later = tick(sensor, instance, first.cursor, cloud=cloud, raw_table=raw_table)
    assert "pipeline: stale the job ami-ingest (job-1) is PENDING" in str(later.skip_reason)


def test_silent_poles_alert_after_two_looks_at_meters(
    dataflow: Dataflow, web: Web, raw_table: RawTable, cloud: ClockedCloud,
    instance: dg.DagsterInstance,
) -> None:  # fmt: skip
    running(dataflow)
    web.tables["GROUP BY meter_id"] = (
        HEARD,
        [["m1", "p1", us(NOW + timedelta(minutes=9))], ["m2", "p2", us(NOW - timedelta(hours=1))]],
    )
    web.tables["valid_from <= @now"] = (SERVICE, [])
    channel = Kept()
    sensor = cloud_flow_sensor(Watch(limits=LIMITS), [channel])
    cursor = tick(sensor, instance, None, cloud=cloud, raw_table=raw_table).cursor
    assert channel.notices == []
    cloud.sleep(600)
    tick(sensor, instance, cursor, cloud=cloud, raw_table=raw_table)
    assert [(n.kind, list(n.subjects)) for n in channel.notices] == [
        (AlertKind.POLE_SILENT, ["p2"])
    ]


def test_metrics_that_cannot_be_asked_leave_the_state_of_the_job(
    dataflow: Dataflow, cloud: ClockedCloud
) -> None:
    dataflow.refuse = grpc.StatusCode.PERMISSION_DENIED
    job, backlog, _ = cloud.observe_job(NOW)
    assert backlog is None
    assert "may not be seen with these credentials" in job.problem
    assert "\n" not in job.problem
    dataflow.refuse = None
    running(dataflow)
    assert cloud.observe_job(NOW)[0].job_id == "job-3"


def test_the_book_of_the_sensor_survives_a_restart(
    dataflow: Dataflow, web: Web, raw_table: RawTable, cloud: ClockedCloud,
    instance: dg.DagsterInstance,
) -> None:  # fmt: skip
    running(dataflow)
    speaking(web, silent_for=timedelta())
    sensor = cloud_flow_sensor(Watch(limits=LIMITS), [])
    cursor = tick(sensor, instance, None, cloud=cloud, raw_table=raw_table).cursor
    assert Book.of_cursor(cursor).notes["observed"] == "job-3 RUNNING"


# Schedules


def asked(name: str, at: datetime, instance: dg.DagsterInstance) -> dict[str, str] | str:
    """Tags of the run that a tick asks for; the reason when it skips."""
    first = datetime(2026, 2, 20, tzinfo=UTC)
    schedules = {s.name: s for s in [*cloud_schedules(first), retention_schedule()]}
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=at) as context:
        result = schedules[name](context)
    if isinstance(result, dg.SkipReason):
        return result.skip_message or ""
    assert isinstance(result, dg.RunRequest)
    return dict(result.tags)


def span(tags: dict[str, str] | str) -> tuple[str, str]:
    assert isinstance(tags, dict), tags
    return (
        tags["dagster/asset_partition_range_start"],
        tags["dagster/asset_partition_range_end"],
    )


def register(instance: dg.DagsterInstance) -> None:
    event = dg.AssetMaterialization("raw_meter_readings", partition="2026-02-28")
    instance.report_runless_asset_event(event)


def succeed(instance: dg.DagsterInstance, job_name: str, **tags: str) -> None:
    @dg.job(name=job_name)
    def job() -> None:
        pass

    instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS, tags=tags)


def test_ticks_wait_for_readings_and_for_a_first_build(instance: dg.DagsterInstance) -> None:
    for name in ("sags_every_5_minutes", "hours_hourly"):
        assert "no day of raw_meter_readings has been registered" in asked(name, NOW, instance)
    for name in ("days_daily", "weeks_weekly"):
        assert asked(name, NOW, instance) == "refresh_hours has not succeeded yet"


def test_the_hourly_tick_makes_up_for_the_hours_since_the_last_build(
    instance: dg.DagsterInstance,
) -> None:
    register(instance)
    assert span(asked("hours_hourly", NOW, instance)) == ("2026-02-20-00:00", "2026-03-01-14:00")
    succeed(
        instance,
        "refresh_hours",
        **{
            "dagster/asset_partition_range_start": "2026-02-20-00:00",
            "dagster/asset_partition_range_end": "2026-03-01-11:00",
        },
    )
    assert span(asked("hours_hourly", NOW, instance)) == ("2026-03-01-12:00", "2026-03-01-14:00")


def test_a_tick_within_an_hour_that_is_built_asks_for_the_last_closed_one(
    instance: dg.DagsterInstance,
) -> None:
    register(instance)
    succeed(instance, "refresh_hours", **{"dagster/partition": "2026-03-01-14:00"})
    assert span(asked("hours_hourly", NOW, instance)) == ("2026-03-01-14:00", "2026-03-01-14:00")


def test_sags_are_looked_for_in_the_open_hour(instance: dg.DagsterInstance) -> None:
    register(instance)
    at = datetime(2026, 3, 1, 15, 5, tzinfo=UTC)
    assert span(asked("sags_every_5_minutes", at, instance)) == (
        "2026-03-01-15:00",
        "2026-03-01-15:00",
    )


def test_days_are_made_after_a_build(instance: dg.DagsterInstance) -> None:
    succeed(instance, "refresh_hours")
    midnight = datetime(2026, 3, 2, 0, 40, tzinfo=UTC)
    assert span(asked("days_daily", midnight, instance)) == ("2026-02-28", "2026-03-01")
    assert asked("retention_nightly", midnight, instance) == {"ami/reason": "night"}


def test_a_week_waits_until_its_last_hour_everywhere_is_built(
    instance: dg.DagsterInstance,
) -> None:
    # Where clocks are twelve hours behind, the week ends on Monday noon (UTC).
    monday = datetime(2026, 3, 2, 12, 20, tzinfo=UTC)
    succeed(instance, "refresh_hours", **{"dagster/partition": "2026-03-02-10:00"})
    assert asked("weeks_weekly", monday, instance) == (
        "hours are built until 2026-03-02 11:00Z; the week of 2026-02-23 ends everywhere at "
        "2026-03-02 12:00Z"
    )
    succeed(instance, "refresh_hours", **{"dagster/partition": "2026-03-02-11:00"})
    tags = {"ami/reason": "week ended", "ami/week": "2026-02-23"}
    assert asked("weeks_weekly", monday, instance) == tags
    succeed(instance, "refresh_weeks", **tags)
    assert asked("weeks_weekly", monday, instance) == "the week of 2026-02-23 is made"


@pytest.mark.parametrize(
    ("name", "job_name"),
    [
        ("sags_every_5_minutes", "detect_sags"),
        ("hours_hourly", "refresh_hours"),
        ("days_daily", "refresh_days"),
        ("weeks_weekly", "refresh_weeks"),
        ("retention_nightly", "apply_retention"),
    ],
)
def test_a_tick_is_skipped_while_the_run_before_has_not_ended(
    name: str, job_name: str, instance: dg.DagsterInstance
) -> None:
    @dg.job(name=job_name)
    def job() -> None:
        pass

    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert "has not ended" in asked(name, NOW, instance)


def test_late_days_and_failures_evaluate_in_the_profile(
    definitions: dg.Definitions, settings: Settings, instance: dg.DagsterInstance
) -> None:
    sensors = {sensor.name: sensor for sensor in definitions.sensors or []}
    lake = definitions.resources["lake"]
    succeed(instance, "refresh_hours", **{"dagster/partition": "2026-03-01-14:00"})
    with dg.build_sensor_context(instance=instance, resources={"lake": lake}) as context:
        result = sensors["failures"](context)
    assert "failing: nothing" in str(result.skip_reason)
    run = instance.get_runs()[0]
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job_name="refresh_hours")
    with dg.build_run_status_sensor_context(
        "late_days", event, instance, run, resources={"lake": lake}
    ) as status:
        request = sensors["late_days"](status)
    assert isinstance(request, dg.RunRequest)
    # The local dates of every site on Earth that the hour touches.
    assert span(dict(request.tags)) == ("2026-03-01", "2026-03-02")


# The archive


@pytest.mark.parametrize(("age_min", "passed"), [(3, True), (40, False)])
def test_the_archive_grows_while_files_are_written(
    age_min: int, passed: bool, web: Web, cloud: ClockedCloud
) -> None:
    hour = "dt=2026-03-01/hr=14"
    web.objects = {
        "raw/pole_id=p1/dt=2026-02-01/hr=00/min=00/a.jsonl": NOW,
        f"raw/pole_id=p1/{hour}/min=59/b.jsonl": NOW - timedelta(minutes=age_min),
        f"raw/pole_id=p2/{hour}/min=10/c.jsonl": NOW - timedelta(minutes=50),
    }
    archive = Archive(project_id="grid", bucket="grid-archive")
    result = archive_check()(cloud=cloud, archive=archive)
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed is passed
    assert "2 poles" in (result.description or "")


def test_a_bucket_that_is_not_named_is_one_line(cloud: ClockedCloud) -> None:
    with pytest.raises(dg.Failure, match="AMI_ARCHIVE_BUCKET names no bucket"):
        archive_check()(cloud=cloud, archive=Archive(project_id="grid", bucket=""))
