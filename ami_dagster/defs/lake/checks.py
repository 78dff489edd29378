"""Data-time checks: reads the newest hours of the lake, gives a verdict on every pole."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import dagster as dg

from ami_dagster.alerts.hops import MeterSeen, by_pole, is_silent, minutes, silent_for
from ami_dagster.alerts.observation import Watch, meters_seen
from ami_dagster.resources import Lake

POLES_ARE_HEARD: Final = "poles_are_heard"
CHECKED: Final = dg.AssetKey("raw_meter_readings")
_MOST_SHOWN: Final = 20
_SCHEMA: Final = dg.TableSchema(
    [
        dg.TableColumn("pole_id", "string"),
        dg.TableColumn("max_event_ts", "string"),
        dg.TableColumn("silent_s", "int"),
        dg.TableColumn("meters", "int"),
        dg.TableColumn("silent_meters", "int"),
    ]
)


def pole_verdict(
    meters: Sequence[MeterSeen], at: datetime, warn: timedelta, error: timedelta, problem: str = ""
) -> dg.AssetCheckResult:
    """Whether every pole has been heard of late.

    Fails with WARN when the newest `event_ts` of a pole is older than `warn` (or three of its
    sample intervals), with ERROR from `error` on.

    Args:
        meters: those that ought to speak.
        at: now.
        warn, error: silence from which on a pole fails.
        problem: files that could not be read, in words; they do not fail the check.
    """
    poles = {
        pole_id: (max(members, key=lambda each: each.heard_at), members)
        for pole_id, members in by_pole(meters).items()
    }
    silent = {
        pole_id
        for pole_id, (_, members) in poles.items()
        if all(is_silent(each, at, warn) for each in members)
    }
    is_error = any(
        all(is_silent(each, at, error) for each in poles[pole_id][1]) for pole_id in silent
    )
    stalest = sorted(poles.items(), key=lambda item: (item[1][0].heard_at, item[0]))
    records = [
        dg.TableRecord(
            {
                "pole_id": pole_id,
                "max_event_ts": ("" if newest.is_heard else "before ")
                + newest.heard_at.isoformat(),
                "silent_s": round(silent_for(newest, at).total_seconds()),
                "meters": len(members),
                "silent_meters": sum(is_silent(each, at, warn) for each in members),
            }
        )
        for pole_id, (newest, members) in stalest[:_MOST_SHOWN]
    ]
    names = [pole_id for pole_id, _ in stalest if pole_id in silent]
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    said = (
        f"{len(names)} of {len(poles)} poles are silent for more than {minutes(warn)}: "
        f"{', '.join(names[:_MOST_SHOWN])}{more}"
        if names
        else f"all {len(poles)} poles were heard within {minutes(warn)}"
    )
    return dg.AssetCheckResult(
        asset_key=CHECKED,
        check_name=POLES_ARE_HEARD,
        passed=not silent,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=f"{said}; {problem}" if problem else said,
        metadata={
            "silent_poles": len(names),
            "poles": len(poles),
            "stalest_poles": dg.MetadataValue.table(records, _SCHEMA),
        },
    )


def poles_check(watch: Watch) -> dg.AssetChecksDefinition:
    """`poles_are_heard` on demand; the sensor `data_flow` reports it by itself."""

    @dg.asset_check(
        asset=CHECKED,
        name=POLES_ARE_HEARD,
        description=(
            "The newest event_ts of every pole is recent: WARN after AMI_SILENT_WARN_S, ERROR "
            "after AMI_SILENT_ERROR_S. Reported by the sensor data_flow."
        ),
    )
    def poles_are_heard(lake: Lake) -> dg.AssetCheckResult:
        now = lake.now()
        meters, problem = meters_seen(lake.data, watch, now)
        return pole_verdict(meters, now, watch.limits.silence, watch.silence_is_error, problem)

    return poles_are_heard
