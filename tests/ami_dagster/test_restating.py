"""Runs that people launch restate their hours; runs of schedules restate what has changed."""

from __future__ import annotations

import dagster as dg
import duckdb
import pytest
from built_platform import Built
from support import HOUR

from ami_dagster.defs.analytics.assets import restated
from ami_dagster.local_run import instance_of
from ami_dagster.partitions import Stretch
from ami_store.warehouse import query


def test_only_runs_without_a_reason_ask_for_their_hours_whatever_has_changed() -> None:
    tags = Stretch(HOUR, HOUR.replace(hour=15)).tags
    assert restated(tags) == [
        "--event-time-start",
        "2026-03-01T14:00:00",
        "--event-time-end",
        "2026-03-01T16:00:00",
    ]
    assert restated({**tags, "ami/reason": "hour closed"}) == []
    assert restated({}) == []


@pytest.mark.slow
def test_a_backfill_of_an_hour_mends_what_was_spoiled_in_it(environment: Built) -> None:
    data = environment.data
    tags = Stretch(HOUR, HOUR.replace(hour=15)).tags
    job = environment.definitions.resolve_job_def("detect_sags")
    with duckdb.connect(str(data.warehouse)) as con:
        con.execute("DELETE FROM int_low_readings")

    def events_after(instance: dg.DagsterInstance, tags: dict[str, str]) -> int:
        assert job.execute_in_process(instance=instance, tags=tags).success
        return int(query(data, "SELECT count(*) FROM voltage_events").rows[0][0])

    with instance_of(data.dagster_home) as instance:
        assert events_after(instance, {**tags, "ami/reason": "open hour"}) == 0
        assert events_after(instance, tags) == 1
        assert query(data, "SELECT count(*) FROM superseded_events").rows == [(0,)]
