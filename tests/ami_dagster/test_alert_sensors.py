"""The alerting sensors over a real lake and instance, with a clock of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from sensor_stage import ClockedLake, Watched, hook, publish_listing, told
from sensor_stage import tick_of as tick
from support import HOUR, stored_rows
from webhook_server import Posts, posts

from ami_contract.lake import DataDir
from ami_contract.registry import REGISTRY_SCHEMA
from ami_dagster.alerts.observation import Watch, newest_tick, observe, overdue
from ami_dagster.defs.alerts.sensors import check_reasons, data_flow_sensor, failures_sensor
from ami_dagster.defs.lake.checks import POLES_ARE_HEARD, poles_check
from ami_store.backlog import Backlog, write_backlogs
from ami_store.lake import compact_hour, compaction_connection, hours, land
from ami_store.registry import write_registry

SUBSCRIPTION = "projects/p/subscriptions/s"
WATCH = Watch(subscription=SUBSCRIPTION)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    storage = {
        "module": "ami_dagster.storage",
        "class": "LocalStorage",
        "config": {"base_dir": str(tmp_path)},
    }
    overrides = {"storage": {"custom": storage}}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as instance:
        yield instance


@pytest.fixture
def runs() -> Iterator[dg.DagsterInstance]:
    """In memory: runs and checks, but no ticks."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def server() -> Iterator[Posts]:
    with posts(204) as server:
        yield server


def at(minute: float) -> datetime:
    return HOUR + timedelta(minutes=minute)


def speak(data: DataDir, minute: float, *meters: tuple[str, str]) -> None:
    """Readings of meters (meter, pole) that land when they are measured."""
    for meter_id, pole_id in meters:
        rows = stored_rows(at(minute), [240.0], meter_id=meter_id, pole_id=pole_id)
        path = land(data, at(minute).replace(minute=0), f"{meter_id}-{minute:g}", rows)
        os.utime(path, (at(minute).timestamp(), at(minute).timestamp()))
    write_backlogs(data, {SUBSCRIPTION: Backlog(at(minute), 0, 0, 0.0)})


FLEET = (("m1", "p1"), ("m2", "p1"), ("m3", "p2"))


def test_a_pole_that_falls_silent_is_told_once_and_its_return_once(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    flow = Watched(data_flow_sensor(WATCH, hook(server)), data, instance)
    for minute in (0, 1, 11, 12, 13, 14, 15, 18, 19, 20, 21):
        speak(data, minute, *(FLEET if minute < 2 or minute >= 18 else FLEET[2:]))
        flow.look(at(minute))
    # Heard at minute 1, so silent from 12 on, which is told at 14; back at 18, told at 20.
    assert told(server) == [
        ("pole_silent", "alert", {"p1": "all meters (2), silent for 13 min"}),
        ("pole_silent", "recovery", {"p1": "was so from 2026-03-01 14:12:00Z"}),
    ]


def test_when_nothing_arrives_one_alert_names_the_backhaul_alone(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    flow = Watched(data_flow_sensor(WATCH, hook(server)), data, instance)
    speak(data, 0, *FLEET)
    for minute in (1, 10, 11, 12, 13, 14, 40):
        write_backlogs(data, {SUBSCRIPTION: Backlog(at(minute), 0, 0, 0.0)})
        flow.look(at(minute))
    assert [(kind, event) for kind, event, _ in told(server)] == [("nothing_arrives", "alert")]


def test_messages_that_the_ingest_does_not_store_are_told_as_such(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    flow = Watched(data_flow_sensor(WATCH, hook(server)), data, instance)
    speak(data, 0, *FLEET)
    for minute in range(4, 10):
        write_backlogs(data, {SUBSCRIPTION: Backlog(at(minute), 90, 50, minute * 60.0)})
        flow.look(at(minute))
    assert [(kind, event) for kind, event, _ in told(server)] == [("ingest_stalled", "alert")]


def compact(data: DataDir, now: datetime) -> None:
    """What a run does that takes in all that has landed up to `now`."""
    with compaction_connection() as con:
        for hour in list(hours(data)):
            compact_hour(data, hour.start, now=now, con=con)
    publish_listing(data, now + timedelta(seconds=1))


def test_readings_that_nobody_builds_are_told_and_over_once_published(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    flow = Watched(data_flow_sensor(WATCH, hook(server)), data, instance)
    for minute in (0, 24, 25, 26, 27, 28, 29, 30, 31, 32):
        speak(data, minute, *FLEET)
        if minute == 30:
            compact(data, at(30))
        flow.look(at(minute))
    # The readings of minute 0 wait for more than 25 minutes from 26 on, and until 30.
    assert told(server) == [
        ("build_overdue", "alert", {"": "readings wait for compaction for 28 min"}),
        ("build_overdue", "recovery", {"": "was so from 2026-03-01 14:26:00Z"}),
    ]


def test_the_first_look_after_hours_of_standstill_tells_nothing(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    flow = Watched(data_flow_sensor(WATCH, hook(server)), data, instance)
    speak(data, 0, *FLEET)
    flow.look(at(1))
    flow.look(at(181))
    for minute in (182, 183, 184):
        speak(data, minute, *FLEET)
        compact(data, at(minute))
        flow.look(at(minute))
    assert told(server) == []


def test_an_alert_that_was_not_taken_comes_with_the_next_look_and_only_once(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    speak(data, 0, *FLEET)
    # Three looks' tries are refused.
    with posts(*[503] * 9, 204) as server:
        flow = Watched(data_flow_sensor(WATCH, hook(server)), data, instance)
        for minute in range(11, 19):
            write_backlogs(data, {SUBSCRIPTION: Backlog(at(minute), 0, 0, 0.0)})
            flow.look(at(minute))
        assert len(server.received) == 10
        assert len({headers["Idempotency-Key"] for _, headers, _ in server.received}) == 1


def test_a_damaged_file_hides_no_pole_and_is_told_when_no_run_tells_it(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    flow = Watched(data_flow_sensor(WATCH, hook(server)), data, instance)
    for minute in (0, 4, 8, 9, 10, 11):
        speak(data, minute, *FLEET)
        if minute == 0:
            torn = land(data, HOUR, "torn", stored_rows(HOUR, [240.0] * 9, meter_id="m9"))
            torn.write_bytes(torn.read_bytes()[:64])
            os.utime(torn, (at(0).timestamp(), at(0).timestamp()))
        flow.look(at(minute))
    [(kind, event, subjects)] = told(server)
    assert (kind, event) == ("lake_damaged", "alert")
    assert str(torn) in subjects[""]


def test_the_check_of_the_poles_is_reported_on_change_and_every_five_minutes(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    flow = Watched(data_flow_sensor(WATCH, []), data, instance)
    reported = {}
    for minute in (0, 3, 5, 9, 10, 11, 13):
        speak(data, minute, FLEET[2], *(FLEET[:1] if minute == 0 else []))
        flow.look(at(minute))
        if flow.evaluations:
            [evaluation] = flow.evaluations
            reported[minute] = (evaluation.passed, evaluation.severity.value)
    # p1 is silent for more than 10 minutes from minute 11 on.
    assert reported == {
        0: (True, "WARN"),
        5: (True, "WARN"),
        10: (True, "WARN"),
        11: (False, "WARN"),
    }
    key = dg.AssetCheckKey(dg.AssetKey("raw_meter_readings"), POLES_ARE_HEARD)
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert latest.status.value == "FAILED"


def verdict(data: DataDir, now: datetime) -> dg.AssetCheckResult:
    """What the check says when it is run by hand."""
    lake = ClockedLake(data_dir=str(data.root), at=now.isoformat())
    result = poles_check(WATCH)(lake)
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_the_check_names_the_silent_poles_and_shows_the_stalest(data: DataDir) -> None:
    speak(data, 0, ("m1", "p1"))
    speak(data, 4, ("m2", "p1"), ("m5", "p3"))
    speak(data, 14, ("m3", "p2"))
    said = verdict(data, at(14.5))
    assert (said.passed, said.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert said.description == "2 of 3 poles are silent for more than 10 min: p1, p3"
    records = [record.data for record in said.metadata["stalest_poles"].records]
    assert records[0] == {
        "pole_id": "p1",
        "max_event_ts": "2026-03-01T14:04:00+00:00",
        "silent_s": 630,
        "meters": 2,
        "silent_meters": 2,
    }
    assert [record["pole_id"] for record in records] == ["p1", "p3", "p2"]


def test_an_hour_of_silence_is_an_error(data: DataDir) -> None:
    speak(data, 0, ("m1", "p1"))
    speak(data, 60, ("m3", "p2"))
    assert verdict(data, at(60)).severity == dg.AssetCheckSeverity.WARN
    assert verdict(data, at(60.1)).severity == dg.AssetCheckSeverity.ERROR
    assert verdict(data, at(60.1)).description == "1 of 2 poles are silent for more than 10 min: p1"


def test_a_pole_of_the_registry_that_was_never_heard_is_silent(data: DataDir) -> None:
    speak(data, 30, ("m1", "p1"))
    row = {"pole_id": "p7", "nominal_voltage_v": 240.0, "valid_from": at(0)}
    retired = {"meter_id": "m6", "pole_id": "p6", "valid_to": at(10)}
    write_registry(
        data.registry,
        pa.Table.from_pylist([{**row, "meter_id": "m7"}, {**row, **retired}], REGISTRY_SCHEMA),
    )
    said = verdict(data, at(30))
    assert said.description == "1 of 2 poles are silent for more than 10 min: p7"
    [record, _] = said.metadata["stalest_poles"].records
    assert record.data["max_event_ts"] == "before 2026-03-01T14:00:00+00:00"


def test_an_empty_lake_passes_and_alerts_nobody(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    flow = Watched(data_flow_sensor(WATCH, hook(server)), data, instance)
    for minute in range(4):
        flow.look(at(minute))
    assert told(server) == []
    assert verdict(data, at(0)).passed


def test_what_cannot_be_read_is_said_and_the_rest_is_seen(
    data: DataDir, instance: dg.DagsterInstance
) -> None:
    speak(data, 0, *FLEET)
    data.pubsub_backlogs.write_text("{")
    data.published_warehouse.parent.mkdir(parents=True)
    data.published_warehouse.write_bytes(b"no database")
    look = observe(data, instance, WATCH, at(1))
    assert len(look.seen.meters) == 3
    assert look.seen.snapshot_problem
    [line] = look.unread
    assert "pubsub.json is damaged" in line


def test_the_newest_tick_of_any_schedule_counts(instance: dg.DagsterInstance) -> None:
    assert newest_tick(instance) is None
    tick(instance, "hours_hourly", at(8))
    tick(instance, "sags_every_5_minutes", at(10))
    tick(instance, "sags_every_5_minutes", at(15))
    assert newest_tick(instance) == at(15)


def test_schedules_that_do_not_tick_are_told(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    flow = Watched(data_flow_sensor(WATCH, hook(server)), data, instance)
    tick(instance, "sags_every_5_minutes", at(0))
    for minute in (0, 12, 13, 14, 15, 16):
        speak(data, minute, *FLEET)
        flow.look(at(minute))
    assert told(server) == [("build_overdue", "alert", {"": "no schedule has ticked for 15 min"})]


def test_a_mart_is_overdue_when_it_was_made_too_long_ago(instance: dg.DagsterInstance) -> None:
    made, never = dg.AssetKey("pole_health_daily"), dg.AssetKey("sarfi_indices")
    instance.report_runless_asset_event(dg.AssetMaterialization(made))
    within = {made: timedelta(hours=26), never: timedelta(hours=26)}
    now = datetime.now(UTC)
    assert overdue(instance, within, now + timedelta(hours=25, minutes=59)) == ()
    assert overdue(instance, within, now + timedelta(hours=26, minutes=1)) == ("pole_health_daily",)


CHECK = dg.AssetCheckKey(dg.AssetKey("mart"), "is_sane")


class Work:
    """A job whose asset and check do as they are told."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.runs: list[str] = []

    def run(
        self,
        *,
        breaks: bool = False,
        passes: bool = True,
        severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
        tags: dict[str, str] | None = None,
        name: str = "detect_sags",
    ) -> None:
        @dg.asset(check_specs=[dg.AssetCheckSpec("is_sane", asset="mart")])
        def mart() -> dg.MaterializeResult:
            if breaks:
                raise ValueError("model voltage_events\n  has no column x")
            check = dg.AssetCheckResult(
                check_name="is_sane", passed=passes, severity=severity, description="2 rows"
            )
            return dg.MaterializeResult(check_results=[check])

        job = dg.Definitions(
            assets=[mart], jobs=[dg.define_asset_job(name, executor_def=dg.in_process_executor)]
        ).resolve_job_def(name)
        result = job.execute_in_process(
            instance=self.instance, raise_on_error=False, tags=tags or {}
        )
        self.runs.append(result.run_id)


def watched_failures(data: DataDir, instance: dg.DagsterInstance, server: Posts) -> Watched:
    sensor = failures_sensor(["detect_sags", "refresh_hours"], [CHECK], hook(server))
    return Watched(sensor, data, instance)


def test_a_job_that_fails_is_told_once_until_it_succeeds(
    data: DataDir, runs: dg.DagsterInstance, server: Posts
) -> None:
    failures, work = watched_failures(data, runs, server), Work(runs)
    for breaks in (False, True, True, False, False):
        work.run(breaks=breaks)
        failures.look(datetime.now(UTC))
        failures.look(datetime.now(UTC))
    [first, second] = told(server)
    assert first[:2] == ("run_failed", "alert")
    assert first[2] == {
        "detect_sags": (
            f"run {work.runs[1]}: step mart: ValueError: model voltage_events has no column x"
        )
    }
    assert second[:2] == ("run_failed", "recovery")
    assert set(second[2]) == {"detect_sags"}


def test_a_failure_and_its_mending_between_two_looks_are_both_told(
    data: DataDir, runs: dg.DagsterInstance, server: Posts
) -> None:
    failures, work = watched_failures(data, runs, server), Work(runs)
    work.run(breaks=True)
    work.run()
    failures.look(datetime.now(UTC))
    failures.look(datetime.now(UTC))
    assert [event for _, event, _ in told(server)] == ["alert", "recovery"]


def test_the_success_of_one_job_says_nothing_of_another(
    data: DataDir, runs: dg.DagsterInstance, server: Posts
) -> None:
    failures, work = watched_failures(data, runs, server), Work(runs)
    work.run(breaks=True, name="refresh_hours")
    work.run(name="detect_sags")
    work.run(breaks=True, name="somebody_elses")
    failures.look(datetime.now(UTC))
    assert [(event, set(subjects)) for _, event, subjects in told(server)] == [
        ("alert", {"refresh_hours"})
    ]


def test_a_run_that_is_tried_again_by_itself_is_no_failure_yet(
    data: DataDir, runs: dg.DagsterInstance, server: Posts
) -> None:
    failures, work = watched_failures(data, runs, server), Work(runs)
    work.run(breaks=True, tags={"dagster/will_retry": "true"})
    failures.look(datetime.now(UTC))
    assert told(server) == []
    # Nor is it the recovery of one that failed for good.
    work.run(breaks=True)
    work.run(breaks=True, tags={"dagster/will_retry": "true"})
    failures.look(datetime.now(UTC))
    assert [event for _, event, _ in told(server)] == ["alert"]


def test_a_failed_check_of_a_run_that_succeeds_is_told_once_until_it_passes(
    data: DataDir, runs: dg.DagsterInstance, server: Posts
) -> None:
    failures, work = watched_failures(data, runs, server), Work(runs)
    for passes in (True, False, False, True):
        work.run(passes=passes)
        failures.look(datetime.now(UTC))
        failures.look(datetime.now(UTC))
    assert [(kind, event, set(subjects)) for kind, event, subjects in told(server)] == [
        ("check_failed", "alert", {"mart:is_sane"}),
        ("check_failed", "recovery", {"mart:is_sane"}),
    ]
    assert told(server)[0][2] == {"mart:is_sane": "2 rows"}


def test_a_warning_of_a_check_alerts_nobody(
    data: DataDir, runs: dg.DagsterInstance, server: Posts
) -> None:
    failures, work = watched_failures(data, runs, server), Work(runs)
    work.run(passes=False, severity=dg.AssetCheckSeverity.WARN)
    failures.look(datetime.now(UTC))
    assert told(server) == []


def test_a_check_that_fails_its_run_is_told_with_the_run(
    data: DataDir, runs: dg.DagsterInstance, server: Posts
) -> None:
    failures, work = watched_failures(data, runs, server), Work(runs)
    work.run(passes=False)
    run = runs.get_run_by_id(work.runs[0])
    assert run is not None
    runs.report_run_failed(run, "dbt ended with 1")
    failures.look(datetime.now(UTC))
    [(kind, _, subjects)] = told(server)
    assert kind == "run_failed"
    assert subjects["detect_sags"].endswith("failed checks: mart:is_sane")
    assert check_reasons(runs, [CHECK]) == {"mart:is_sane": None}


def test_a_failed_run_explains_that_readings_wait(
    data: DataDir, instance: dg.DagsterInstance, server: Posts
) -> None:
    flow, work = Watched(data_flow_sensor(WATCH, hook(server)), data, instance), Work(instance)
    work.run(breaks=True)
    for minute in (0, 26, 27, 28, 29):
        speak(data, minute, *FLEET)
        flow.look(at(minute))
    assert told(server) == []
