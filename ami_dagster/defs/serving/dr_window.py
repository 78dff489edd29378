"""A demand-response window on demand: reads the published warehouse, gives files and a picture."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import duckdb
from pydantic import Field, field_validator, model_validator

from ami_contract.errors import SettingsError, WarehouseError
from ami_contract.lake import DataDir
from ami_dagster.defs.analytics.pictures import shed_picture
from ami_dagster.resources import Lake
from ami_store.files import TEMPORARY_PREFIX, replace_folder
from ami_store.highlights import Shed
from ami_store.warehouse import connect

GROUP = "serving"
_SLOT_S = 300
_LONGEST = timedelta(days=1)
_CALL = "(?::TIMESTAMPTZ, ?::TIMESTAMPTZ, ?::VARCHAR[])"
_FILES = {"per_slot": "dr_window_performance", "per_pole": "dr_window_summary"}
_TOTALS = f"""
    SELECT method, adjustment, poles, unknown_poles, baseline_kwh, actual_kwh, shed_kwh, shed_pct,
        rebound_kwh
    FROM dr_window_totals{_CALL} WHERE is_own_adjustment ORDER BY method
"""  # noqa: S608 - a constant is put in
_GATES = """
    SELECT method, count(*) FILTER (gate = 'pass'), count(*)
    FROM dr_baseline_accuracy
    WHERE reference_id = 'default_window' AND is_own_adjustment
        AND (len(?::VARCHAR[]) = 0 OR list_contains(?::VARCHAR[], pole_id))
    GROUP BY method
"""
_SLOTS = f"""
    SELECT epoch_us(slot_ts), min(phase),
        CASE WHEN count(*) = count(baseline_kw) THEN sum(baseline_kw) END,
        CASE WHEN count(*) = count(actual_kw) THEN sum(actual_kw) END,
        CASE WHEN count(*) = count(shed_kw) THEN sum(shed_kw) END
    FROM dr_window_performance{_CALL} WHERE is_own_adjustment AND method = ?
    GROUP BY slot_ts ORDER BY slot_ts
"""  # noqa: S608 - a constant is put in


class DrWindowConfig(dg.Config):
    """A window to look at as a demand-response event, whether or not `dr_events` lists it."""

    window_start: str = Field(
        description="ISO 8601 with an offset, at whole 5 minutes: 2026-08-20T16:00-05:00."
    )
    window_end: str = Field(description="As `window_start`; at most a day after it.")
    pole_ids: list[str] = Field([], description="Only these poles; empty: all.")
    method: str = Field(
        "",
        description="Baseline method of the picture; empty: the one with the most passing poles.",
    )

    @field_validator("window_start", "window_end")
    @classmethod
    def _whole_slot(cls, value: str) -> str:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError(f"{value} has no offset from UTC; write Z or, say, -05:00 behind it")
        if moment.timestamp() % _SLOT_S:
            raise ValueError(f"{value} is not at whole 5 minutes")
        return moment.astimezone(UTC).isoformat()

    @model_validator(mode="after")
    def _some_time(self) -> "DrWindowConfig":
        span = self.end - self.start
        if not timedelta() < span <= _LONGEST:
            raise ValueError("window_end must be after window_start, by a day at most")
        return self

    @property
    def start(self) -> datetime:
        """First instant of the window, UTC."""
        return datetime.fromisoformat(self.window_start)

    @property
    def end(self) -> datetime:
        """First instant after the window, UTC."""
        return datetime.fromisoformat(self.window_end)


def dr_window_report() -> dg.AssetsDefinition:
    """`dr_window_report`: what a window shed, by every method."""

    @dg.asset(
        name="dr_window_report",
        deps=[
            "dr_window_performance",
            "dr_window_summary",
            "dr_window_totals",
            "published_warehouse",
        ],
        group_name=GROUP,
        kinds={"csv", "markdown"},
        description=(
            "Baseline, actual and shed of any window over any poles, per 5-minute slot and in "
            "total, by every method, from the table functions of the published warehouse. Files "
            "below `reports/dr-window/`. On demand: launch with the window in its config."
        ),
    )
    def report(
        context: dg.AssetExecutionContext, config: DrWindowConfig, lake: Lake
    ) -> dg.MaterializeResult:
        found = evaluate(lake.data, config, now=lake.now())
        folder = write_files(lake.data, config)
        context.log.info("wrote %s", folder)
        return dg.MaterializeResult(
            metadata={
                "totals": dg.MetadataValue.md(totals_table(found["totals"])),
                "picture": dg.MetadataValue.md(found["picture"]),
                "path": dg.MetadataValue.path(str(folder)),
            }
        )

    return report


def evaluate(data: DataDir, config: DrWindowConfig, *, now: datetime) -> dict[str, Any]:
    """Totals by method (dicts, kWh) and the picture (markdown) of a window.

    Raises:
        SettingsError: the window is not over, or a pole or the method is unknown.
        WarehouseError: the published warehouse has no demand response yet.
    """
    if config.end > now:
        raise SettingsError(
            f"the window ends at {config.window_end}, which is still to come; ask again then"
        )
    window = [config.start, config.end, config.pole_ids]
    try:
        with connect(data) as con:
            known = {pole for (pole,) in con.execute("SELECT pole_id FROM dim_pole").fetchall()}
            if unknown := set(config.pole_ids) - known:
                raise SettingsError(
                    f"there is no pole {', '.join(sorted(unknown))}; the table dim_pole lists all"
                )
            cursor = con.execute(_TOTALS, window)
            names = [column[0] for column in cursor.description or []]
            totals = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            poles = [config.pole_ids, config.pole_ids]
            gates = {m: (passing, of) for m, passing, of in con.execute(_GATES, poles).fetchall()}
            for row in totals:
                row["passing_poles"], row["judged_poles"] = gates.get(row["method"], (0, 0))
            method = config.method or _most_trusted(totals)
            if method not in {row["method"] for row in totals}:
                raise SettingsError(
                    f"there is no method {method!r}; there are "
                    f"{', '.join(row['method'] for row in totals)}"
                )
            slots = con.execute(_SLOTS, [*window, method]).fetchall()
    except duckdb.Error as error:
        raise WarehouseError(
            f"the published warehouse cannot say what was shed: {error}; run `ami build`"
        ) from error
    name = f"{config.start:%Y-%m-%d %H:%M} to {config.end:%H:%M} UTC"
    shed = Shed(
        name,
        method,
        [(datetime.fromtimestamp(at_us / 1_000_000, UTC), *values) for at_us, *values in slots],
    )
    text = f"{name} by {method}"
    if all(slot[2] is None for slot in shed.slots):
        text += ", which has too few days to compare with"
    return {"totals": totals, "picture": shed_picture(shed, text) or text, "method": method}


def _most_trusted(totals: list[dict[str, Any]]) -> str:
    """The method that most poles' accuracy lets pass; among equals, one that has a total."""
    if not totals:
        return ""
    best = max(totals, key=lambda row: (row["passing_poles"], row["shed_kwh"] is not None))
    return str(best["method"])


def totals_table(totals: list[dict[str, Any]]) -> str:
    """Markdown of the totals: kWh, %, and how many poles' accuracy passes, by method."""
    head = (
        "| method | baseline kWh | actual kWh | shed kWh | shed % | rebound kWh "
        "| poles that pass | unknown poles |\n|---|---|---|---|---|---|---|---|"
    )
    lines = [
        f"| {row['method']} | {_number(row['baseline_kwh'])} | {_number(row['actual_kwh'])} "
        f"| {_number(row['shed_kwh'])} | {_number(row['shed_pct'])} "
        f"| {_number(row['rebound_kwh'])} | {row['passing_poles']} of {row['judged_poles']} "
        f"| {row['unknown_poles'] or ''} |"
        for row in totals
    ]
    return "\n".join([head, *lines])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3f}"


def write_files(data: DataDir, config: DrWindowConfig) -> Path:
    """Write the window's rows per slot and per pole as CSV; a folder of an earlier run is replaced.

    Returns its path; raises WarehouseError.
    """
    name = f"{config.start:%Y%m%dT%H%MZ}-{config.end:%Y%m%dT%H%MZ}"
    target = data.reports / "dr-window" / name
    fresh = target.with_name(f"{TEMPORARY_PREFIX}{uuid4().hex}-{name}")
    fresh.mkdir(parents=True)
    try:
        with connect(data) as con:
            for file, function in _FILES.items():
                rows = con.execute(
                    f"SELECT * FROM {function}{_CALL} ORDER BY ALL",  # noqa: S608 - constants
                    [config.start, config.end, config.pole_ids],
                )
                rows.df().to_csv(fresh / f"{file}.csv", index=False)
        replace_folder(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target
