"""A machine that was off for three hours makes up for every hour, day and week once.

Schedules and sensors are evaluated minute by minute with a clock of their own, as the daemon does
after its start; runs take some minutes and do to the lake what the real ones do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster._core.scheduler.scheduler import DEFAULT_MAX_CATCHUP_RUNS
from dagster._utils.schedules import cron_string_iterator
from sensor_stage import ClockedLake, Watched, hook, tick_of, told
from support import stored_rows
from webhook_server import Posts, posts

from ami_contract.lake import HOUR, DataDir, floor_hour
from ami_dagster.alerts.observation import Watch
from ami_dagster.defs.alerts.sensors import data_flow_sensor
from ami_dagster.defs.analytics.schedules import schedules
from ami_dagster.defs.analytics.sensors import late_days_sensor
from ami_dagster.defs.lake.sensors import landed_hours_sensor
from ami_dagster.partitions import Stretch, hourly_partitions, pending_hours
from ami_store.backlog import Backlog, write_backlogs
from ami_store.lake import compact_hour, compaction_connection, hours, land

SUBSCRIPTION = "projects/p/subscriptions/s"
MINUTE = timedelta(minutes=1)
# A Sunday; the daily and the weekly tick fall into the night that follows.
OFF = datetime(2026, 3, 1, 23, 5, tzinfo=UTC)
BACK = OFF + timedelta(hours=3)
MISSED = [datetime(2026, 3, 1, 23, tzinfo=UTC) + number * HOUR for number in range(3)]
SCHEDULES = schedules()


def speak(data: DataDir, minute: datetime, landed_at: datetime | None = None) -> None:
    """A reading of the minute, which lands then or when the gateways deliver what they kept."""
    moment = (landed_at or minute).timestamp()
    path = land(data, floor_hour(minute), f"{minute:%H%M}", stored_rows(minute, [240.0]))
    os.utime(path, (moment, moment))


@dataclass
class Machine:
    """The daemon's work and that of its runs, at `now`."""

    data: DataDir
    instance: dg.DagsterInstance
    flow: Watched
    hours_take: timedelta
    now: datetime = OFF
    ticked: datetime = OFF
    cursor: str | None = None
    queue: list[tuple[dg.DagsterRun, datetime]] = field(default_factory=list)
    asked: list[tuple[str, str, Stretch | None]] = field(default_factory=list)

    def resources(self) -> dict[str, object]:
        return {"lake": ClockedLake(data_dir=str(self.data.root), at=self.now.isoformat())}

    def live(self, until: datetime, step: timedelta = 2 * MINUTE) -> None:
        """Readings come, schedules and sensors are evaluated and runs end, step by step."""
        while self.now < until:
            self.now += step
            speak(self.data, self.now)
            write_backlogs(self.data, {SUBSCRIPTION: Backlog(self.now, 0, 0, 0.0)})
            self.work()

    def work(self) -> None:
        self.end_runs()
        for schedule in SCHEDULES:
            self.tick(schedule)
        self.ticked = self.now
        self.look_for_late()
        self.flow.look(self.now)

    def tick(self, schedule: dg.ScheduleDefinition) -> None:
        """Evaluate the ticks since the last time, the newest five, as Dagster's scheduler does."""
        due = []
        for moment in cron_string_iterator(
            (self.ticked + timedelta(seconds=1)).timestamp(), str(schedule.cron_schedule), "UTC"
        ):
            if moment > self.now:
                break
            due.append(moment.astimezone(UTC))
        for moment in due[-DEFAULT_MAX_CATCHUP_RUNS:]:
            with dg.build_schedule_context(
                instance=self.instance,
                scheduled_execution_time=moment,
                resources=self.resources(),
            ) as context:
                result = schedule(context)
            tick_of(self.instance, schedule.name, moment)
            if isinstance(result, dg.SkipReason):
                continue
            for request in [result] if isinstance(result, dg.RunRequest) else result:
                self.launch(schedule.name, schedule.job_name, request)

    def look_for_late(self) -> None:
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources=self.resources()
        ) as context:
            result = landed_hours_sensor(hourly_partitions(self.data, self.now))(context)
        self.cursor = result.cursor or self.cursor
        for request in result.run_requests or []:
            self.launch("landed_hours", "refresh_hours", request)

    def launch(self, asked_by: str, job_name: str, request: dg.RunRequest) -> None:
        self.asked.append((asked_by, job_name, Stretch.of_tags(request.tags)))
        run = self.instance.create_run_for_job(
            _job(job_name), tags=dict(request.tags), status=dg.DagsterRunStatus.NOT_STARTED
        )
        begins = max([self.now, *(ends for _, ends in self.queue)])
        takes = self.hours_take if job_name == "refresh_hours" else 2 * MINUTE
        self.queue.append((run, begins + takes))

    def end_runs(self) -> None:
        while self.queue and self.queue[0][1] <= self.now:
            run, _ = self.queue.pop(0)
            stretch = Stretch.of_tags(run.tags)
            if run.job_name in ("detect_sags", "refresh_hours"):
                assert stretch
                self.compact(stretch.hours)
            publish(self.data, self.now, is_complete=run.job_name == "refresh_hours")
            done = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name)
            self.instance.report_dagster_event(done, run.run_id)
            if run.job_name == "refresh_hours":
                self.look_for_days(run, done)

    def compact(self, starts: list[datetime]) -> None:
        with compaction_connection() as con:
            for start in starts:
                compact_hour(self.data, start, now=self.now, con=con)

    def look_for_days(self, run: dg.DagsterRun, done: dg.DagsterEvent) -> None:
        sensor = late_days_sensor(_asset_job("refresh_hours"), _asset_job("refresh_days"))
        with dg.build_run_status_sensor_context(
            sensor_name="late_days",
            dagster_event=done,
            dagster_instance=self.instance,
            dagster_run=run,
            resources=self.resources(),
        ) as context:
            result = sensor(context)
        if isinstance(result, dg.RunRequest):
            self.launch("late_days", "refresh_days", result)

    def asked_for(self, job_name: str) -> list[tuple[str, Stretch | None]]:
        """Who asked for runs of a job since the machine is back, over what."""
        return [(by, stretch) for by, name, stretch in self.asked if name == job_name]


def _job(name: str) -> dg.JobDefinition:
    @dg.job(name=name)
    def job() -> None:
        pass

    return job


def _asset_job(name: str) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(name)


def publish(data: DataDir, now: datetime, *, is_complete: bool) -> None:
    """The state that a run leaves in the published warehouse."""
    path = data.published_warehouse
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE SCHEMA IF NOT EXISTS lake")
        con.execute("CREATE SCHEMA IF NOT EXISTS state")
        con.execute("CREATE OR REPLACE TABLE lake.listing (listed_at TIMESTAMPTZ)")
        con.execute("INSERT INTO lake.listing VALUES (?)", [now])
        if is_complete:
            con.execute(
                "CREATE OR REPLACE TABLE state.windows (window_ts TIMESTAMPTZ, version VARCHAR)"
            )
            seen = [[hour.start, hour.version] for hour in hours(data)]
            con.executemany("INSERT INTO state.windows VALUES (?, ?)", seen)


@pytest.fixture
def server() -> Iterator[Posts]:
    with posts(204) as server:
        yield server


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


def machine_at(
    data: DataDir, instance: dg.DagsterInstance, server: Posts, hours_take: timedelta
) -> Machine:
    """A machine on which all is well when it goes off."""
    for moment in (OFF - 20 * MINUTE, OFF):
        speak(data, moment)
    write_backlogs(data, {SUBSCRIPTION: Backlog(OFF, 0, 0, 0.0)})
    flow = Watched(data_flow_sensor(Watch(subscription=SUBSCRIPTION), hook(server)), data, instance)
    machine = Machine(data, instance, flow, hours_take)
    machine.compact([hour.start for hour in hours(data)])
    publish(data, OFF, is_complete=True)
    machine.work()
    assert machine.asked == []
    return machine


def come_back(machine: Machine) -> None:
    """The machine is on again; the gateways deliver what they kept."""
    machine.now = BACK
    for number in range(1, 19):
        speak(machine.data, OFF + number * 10 * MINUTE, BACK)
    machine.work()


def test_all_that_was_missed_is_made_up_for_once_and_nobody_is_told(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    machine = machine_at(data, instance, server, hours_take=2 * MINUTE)
    come_back(machine)
    machine.live(BACK + 14 * MINUTE)
    assert machine.queue == []
    closed = floor_hour(BACK)
    assert pending_hours(data, until=closed) == []
    # Of the three hourly ticks that were missed the first asks for all hours closed since, and the
    # 36 ticks of five minutes become one.
    assert machine.asked_for("refresh_hours") == [("hours_hourly", Stretch(MISSED[0], MISSED[1]))]
    [(_, last), *_] = machine.asked_for("detect_sags")
    assert last == Stretch(MISSED[2], MISSED[2])
    sunday = Stretch(OFF.replace(hour=0, minute=0), OFF.replace(hour=23, minute=0))
    days = machine.asked_for("refresh_days")
    # Its last hour came after the schedule had asked for the day.
    assert days == [("days_daily", sunday), ("late_days", sunday)]
    # The missed tick of Monday saw that the week's last hour was not built, and let it be.
    assert machine.asked_for("refresh_weeks") == []
    machine.live(BACK + 16 * MINUTE)
    assert machine.asked_for("refresh_weeks") == [("weeks_weekly", None)]
    assert told(server) == []


def test_a_catching_up_that_takes_long_is_told_once_and_its_end_once(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    machine = machine_at(data, instance, server, hours_take=44 * MINUTE)
    come_back(machine)
    machine.live(BACK + 72 * MINUTE, step=4 * MINUTE)
    assert [(kind, event) for kind, event, _ in told(server)] == [
        ("build_overdue", "alert"),
        ("build_overdue", "recovery"),
    ]
