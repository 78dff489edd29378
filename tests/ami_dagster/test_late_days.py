"""The sensor of late days: which days a refresh of hours has made anew."""

from __future__ import annotations

from datetime import UTC, date, datetime

import dagster as dg
from built_platform import Built
from support import HOUR

from ami_dagster.defs.analytics.sensors import made_days
from ami_dagster.partitions import Stretch
from ami_dagster.resources import Lake


def test_a_day_is_made_once_its_nightly_tick_has_passed() -> None:
    days = [date(2026, 3, 1), date(2026, 3, 2)]
    assert made_days(days, datetime(2026, 3, 2, 0, 40, tzinfo=UTC)) == []
    assert made_days(days, datetime(2026, 3, 2, 0, 41, tzinfo=UTC)) == [date(2026, 3, 1)]
    assert made_days(days, datetime(2026, 3, 3, 12, tzinfo=UTC)) == days


def evaluate(built: Built, tags: dict[str, str]) -> dg.RunRequest | dg.SkipReason:
    """What the sensor says of a successful refresh with these tags."""
    sensor = next(s for s in built.definitions.sensors or [] if s.name == "late_days")
    job = built.definitions.resolve_job_def("refresh_hours")
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.SUCCESS)
        with dg.build_run_status_sensor_context(
            sensor_name="late_days",
            dagster_event=dg.DagsterEvent(
                dg.DagsterEventType.RUN_SUCCESS.value, job_name="refresh_hours"
            ),
            dagster_instance=instance,
            dagster_run=run,
            resources={"lake": Lake(data_dir=str(built.data.root))},
        ) as context:
            result = sensor(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def test_late_hours_have_exactly_their_day_made_again(built: Built) -> None:
    request = evaluate(built, {**Stretch(HOUR, HOUR).tags, "ami/reason": "late readings"})
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == "2026-03-01"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-03-01"
    assert request.tags["ami/reason"] == "late readings"
    assert request.tags["ami/hours"] == "2026-03-01T14Z..2026-03-01T14Z"


def test_hours_of_today_wait_for_the_nightly_schedule(built: Built) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    assert isinstance(evaluate(built, Stretch(now, now).tags), dg.SkipReason)
