"""Kinds of alerts: what a notice may be about; docs/alerts.md has a section for each."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class AlertKind(StrEnum):
    """What is wrong."""

    METER_SILENT = "meter_silent"
    POLE_SILENT = "pole_silent"
    NOTHING_ARRIVES = "nothing_arrives"
    INGEST_STALLED = "ingest_stalled"
    BUILD_OVERDUE = "build_overdue"
    SNAPSHOT_STALE = "snapshot_stale"
    LAKE_DAMAGED = "lake_damaged"
    RUN_FAILED = "run_failed"
    CHECK_FAILED = "check_failed"


HEADLINES: Final = {
    AlertKind.METER_SILENT: "Meters are silent while their pole speaks",
    AlertKind.POLE_SILENT: "Poles are silent while others speak",
    AlertKind.NOTHING_ARRIVES: "No readings arrive",
    AlertKind.INGEST_STALLED: "Readings arrive but are not stored",
    AlertKind.BUILD_OVERDUE: "Stored readings are not built in time",
    AlertKind.SNAPSHOT_STALE: "What is built is not published",
    AlertKind.LAKE_DAMAGED: "The lake cannot be read",
    AlertKind.RUN_FAILED: "Runs have failed",
    AlertKind.CHECK_FAILED: "Checks have failed",
}
