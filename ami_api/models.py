"""What the API says: gives one model per answer, each quantity with its unit.

Times are UTC. A quantity that is not known is null, never 0.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ami_api.times import Rfc3339
from ami_contract.reading import IDENTIFIER_PATTERN

Identifier = Annotated[
    str, Field(min_length=1, max_length=128, pattern=IDENTIFIER_PATTERN, examples=["pole-0001"])
]
EventId = Annotated[
    str, Field(pattern=r"^[0-9a-f]{32}$", examples=["0cc175b9c0f1b6a831c399e269772661"])
]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Url = Annotated[str, Field(examples=["/anomalies?cursor=WzE3NzIzNzA2MDAwMDAwMDAsIjBjYyJd"])]


class Severity(StrEnum):
    """How bad a low-voltage event is."""

    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


class Scope(StrEnum):
    """How far a low-voltage event reached."""

    METER = "meter"
    POLE = "pole"
    FEEDER = "feeder"
    UNDETERMINED = "undetermined"


class Metric(StrEnum):
    """What a time series shows."""

    VOLTAGE_V = "voltage_v"
    POWER_KW = "power_kw"
    ENERGY_KWH = "energy_kwh"
    COVERAGE = "coverage"


class Resolution(StrEnum):
    """Length of a time series' parts; days are UTC days."""

    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    QUARTER = "15m"
    HOUR = "1h"
    DAY = "1d"


class Method(StrEnum):
    """Baseline method."""

    SAME_TIME_MEAN = "same_time_mean"
    MEDIAN_N = "median_n"
    CAISO = "caiso_10_of_10"
    ERCOT = "ercot_mid_8_of_10"
    PJM = "pjm_high_4_of_5"
    NYISO = "nyiso_high_5_of_10"


class Adjustment(StrEnum):
    """Adjustment of a baseline by the hours before the event."""

    OWN = "own"
    NONE = "none"
    MULTIPLICATIVE = "multiplicative"
    ADDITIVE = "additive"


class Gate(StrEnum):
    """Whether a method is accurate enough; not_assessable is not a pass."""

    PASS = "pass"  # noqa: S105  (no password)
    FAIL = "fail"
    NOT_ASSESSABLE = "not_assessable"


class Answer(BaseModel):
    """Base of all answers: nothing beside the fields, numbers as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")


class Health(Answer):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Ready(Answer):
    """The warehouse is attached and answers."""

    status: Literal["ready"] = "ready"
    snapshot_id: str = Field(description="Names the published state; another after each build.")
    published_at: datetime = Field(description="When it was published. [UTC]")
    published_age_s: float = Field(description="Time since then. [s]")
    newest_event_ts: datetime | None = Field(
        description="event_ts of the newest reading in it; null while it holds none. [UTC]"
    )
    newest_event_age_s: float | None = Field(description="Time since then. [s]")


class PoleSite(Answer):
    """A pole and where it stands."""

    pole_id: Identifier = Field(description="Pole.")
    feeder_id: str | None = Field(description="Feeder it hangs on.")
    latitude: float | None = Field(description="WGS 84 latitude. [degree]")
    longitude: float | None = Field(description="WGS 84 longitude. [degree]")
    rated_kva: float | None = Field(
        description="Rated power of its transformers; null where one has none. [kVA]"
    )
    time_zone: str = Field(description="IANA time zone.", examples=["America/Chicago"])
    is_registered: bool = Field(description="Whether the registry names it.")
    transformers: Count = Field(description="Transformers of its registered meters. [count]")
    meters_registered: Count = Field(description="Meters that the registry puts there. [count]")
    meters_unregistered: Count = Field(
        description="Meters that the registry does not know and whose readings name it. [count]"
    )
    first_seen_ts: datetime | None = Field(description="event_ts of its oldest reading. [UTC]")
    last_seen_ts: datetime | None = Field(description="event_ts of its newest reading. [UTC]")


class Pole(PoleSite):
    """A pole with its condition in the newest hour of the last day of readings."""

    health_hour_ts: datetime | None = Field(
        description="Start of the hour that the fields from here on describe. [UTC]"
    )
    health_score: float | None = Field(
        description="Health, 0 to 100; null while unknown (more than half of the data missing)."
    )
    meters_reporting: Count | None = Field(description="Meters with a reading. [count]")
    missing_rate: float | None = Field(description="Missing / expected readings.")
    low_readings_pct: float | None = Field(
        description="Share of readings below the low-voltage threshold. [%]"
    )
    min_voltage_v: float | None = Field(description="Lowest voltage. [V]")
    mean_voltage_v: float | None = Field(description="Mean voltage. [V]")
    max_voltage_v: float | None = Field(description="Highest voltage. [V]")
    peak_kw: float | None = Field(description="Largest 1-minute power. [kW]")
    energy_kwh: float | None = Field(description="Energy. [kWh]")
    loading: float | None = Field(description="Apparent power / rated power.")
    events_minor: Count | None = Field(description="Minor events that start in it. [count]")
    events_major: Count | None = Field(description="Major events. [count]")
    events_critical: Count | None = Field(description="Critical events. [count]")


class Page(Answer):
    """One page of a list."""

    next_cursor: str | None = Field(
        description="Value of `cursor` for the next page; null on the last."
    )


class Poles(Page):
    """Poles by name."""

    poles: list[Pole] = Field(description="This page's poles.")


class Window(Answer):
    """A window of time, [start, end)."""

    start: datetime = Field(description="First moment. [UTC]")
    end: datetime = Field(description="First moment after it. [UTC]")


class PowerSummary(Answer):
    """Power and energy of the 5-minute slots that start in the window."""

    slots: Count = Field(description="Slots for which the warehouse has the pole. [count]")
    power_slots: Count = Field(description="Slots with a power. [count]")
    energy_kwh: float | None = Field(
        description="Energy of those slots, measured and estimated. [kWh]"
    )
    covered_kwh: float | None = Field(description="Energy of what was received alone. [kWh]")
    mean_kw: float | None = Field(description="Mean power of the slots that have one. [kW]")
    min_kw: float | None = Field(description="Least power of a slot. [kW]")
    peak_kw: float | None = Field(description="Largest power of a slot. [kW]")
    peak_slot_ts: datetime | None = Field(description="First slot with it. [UTC]")
    measured_share: float | None = Field(description="Meter-slots measured.")
    estimated_share: float | None = Field(description="Meter-slots estimated.")
    missing_share: float | None = Field(description="Meter-slots without a value.")
    coverage: float | None = Field(description="Share of the meters' time that readings cover.")


class VoltageSummary(Answer):
    """Voltage of the readings in those slots."""

    readings: Count = Field(description="Received readings. [count]")
    min_voltage_v: float | None = Field(description="Lowest. [V]")
    mean_voltage_v: float | None = Field(description="Mean of the readings. [V]")
    max_voltage_v: float | None = Field(description="Highest. [V]")


class HealthSummary(Answer):
    """Condition in the UTC hours that the window touches."""

    health_hours: Count = Field(description="Hours known. [count]")
    latest_score: float | None = Field(description="Health of the newest hour, 0 to 100.")
    lowest_score: float | None = Field(description="Lowest health of an hour, 0 to 100.")
    highest_hourly_loading: float | None = Field(
        description="Largest apparent power of an hour / rated power."
    )
    expected: Count = Field(description="Readings expected. [count]")
    received: Count = Field(description="Readings received. [count]")
    missing: Count = Field(description="Readings missing. [count]")
    lost: Count = Field(description="Of the missing, holes in seq. [count]")
    not_sampled: Count = Field(description="Of the missing, never taken. [count]")
    missing_rate: float | None = Field(description="missing / expected.")
    low_readings_pct: float | None = Field(
        description="Share of readings below the low-voltage threshold. [%]"
    )
    high_readings_pct: float | None = Field(
        description="Share of readings above the high-voltage threshold. [%]"
    )


class EventSummary(Answer):
    """Low-voltage events that start in the window, and outages that touch it."""

    events: Count = Field(description="Events. [count]")
    events_minor: Count = Field(description="Of them, minor. [count]")
    events_major: Count = Field(description="Of them, major. [count]")
    events_critical: Count = Field(description="Of them, critical. [count]")
    meters_with_event: Count = Field(description="Meters with one. [count]")
    longest_event_s: float | None = Field(description="Longest. [s]")
    lowest_voltage_pu: float | None = Field(description="Lowest voltage / nominal voltage. [pu]")
    outages: Count = Field(description="Outages of its meters that touch the window. [count]")


class PoleSummary(Answer):
    """A pole over a window."""

    pole: PoleSite = Field(description="The pole.")
    window: Window = Field(description="The window asked for.")
    power: PowerSummary = Field(description="Power and energy.")
    voltage: VoltageSummary = Field(description="Voltage.")
    health: HealthSummary = Field(description="Condition.")
    events: EventSummary = Field(description="Events and outages.")


class Point(Answer):
    """A part of a time series; parts without data are left out."""

    ts: datetime = Field(description="Its start. [UTC]")
    value: float | None = Field(
        description="Mean voltage of the readings, mean power or coverage over time, or energy; "
        "null when unknown. [the series' unit]"
    )
    min: float | None = Field(
        description="Lowest reading (voltage) or stored part; null for energy. [unit]"
    )
    max: float | None = Field(
        description="Highest reading (voltage) or stored part; null for energy. [unit]"
    )
    valid_share: Share | None = Field(
        description="Share of its stored parts (minutes or 5-minute slots) that have a power; "
        "below 1 the energy is of a part of the time only."
    )


class Series(Answer):
    """A quantity of a pole over time."""

    pole_id: Identifier = Field(description="Pole.")
    metric: Metric = Field(description="What it shows.")
    unit: Literal["V", "kW", "kWh", "1"] = Field(description="Unit of the values.")
    resolution: Resolution = Field(description="Length of the parts.")
    window: Window = Field(description="The window, widened to whole parts.")
    points: list[Point] = Field(description="The parts by time.")


class Anomaly(Answer):
    """A low-voltage event of a meter."""

    event_id: EventId = Field(description="Event.")
    meter_id: Identifier = Field(description="Meter.")
    pole_id: Identifier = Field(description="Pole.")
    start_ts: datetime = Field(description="event_ts of the first low reading. [UTC]")
    end_ts: datetime = Field(description="event_ts of the last low reading, inclusive. [UTC]")
    duration_s: float = Field(description="(last seq - first seq + 1) sample intervals. [s]")
    min_voltage_v: float = Field(description="Lowest voltage. [V]")
    mean_voltage_v: float = Field(description="Mean voltage of the low readings. [V]")
    min_voltage_pu: float = Field(description="Lowest voltage / nominal voltage. [pu]")
    sample_count: Count = Field(description="Low readings. [count]")
    missing_count: Count = Field(description="Samples inside that were not received. [count]")
    evidence: Literal["observed", "inferred"] = Field(
        description="Whether the low readings alone last long enough to be an event."
    )
    coarse: bool = Field(description="Whether the meter samples too seldom to tell seconds.")
    truncated_start: bool = Field(description="Whether the sample before it was not received.")
    truncated_end: bool = Field(description="Whether no recovery was observed right after it.")
    ended_by: Literal["recovery", "gap", "outage", "open"] = Field(description="What ended it.")
    is_open: bool = Field(description="Whether it may still go on.")
    severity: Severity = Field(description="How bad it is.")
    ieee1159_class: str = Field(
        description="IEEE 1159 class by lowest voltage and duration; none from 0.9 pu.",
        examples=["temporary_sag"],
    )
    scope: Scope = Field(description="How far it reached.")
    provisional: bool = Field(
        False,
        description="Whether it was found in readings that no build has seen; the next build may "
        "change it.",
    )


class TailState(StrEnum):
    """Whether events that no build has seen yet are among the answer."""

    INCLUDED = "included"
    UNAVAILABLE = "unavailable"
    OFF = "off"


class Anomalies(Page):
    """Low-voltage events that start in a window, newest first."""

    window: Window = Field(description="The window asked for.")
    live_tail: TailState = Field(
        description="Whether events that no build has seen yet are among them: unavailable when "
        "they could not be told, off where AMI_API_LIVE_TAIL_S says so."
    )
    anomalies: list[Anomaly] = Field(description="This page's events.")


class Sample(Answer):
    """A reading of a trace."""

    ts: datetime = Field(description="event_ts. [UTC]")
    voltage_v: float = Field(description="RMS voltage. [V]")


class Trace(Answer):
    """The voltage of a meter around an event."""

    meter_id: Identifier = Field(description="Meter.")
    samples: list[Sample] = Field(description="Its received readings by time.")


class IntervalMean(Answer):
    """What a meter of longer intervals would have told."""

    interval_s: Literal[300, 900, 3600] = Field(description="Length of the interval. [s]")
    start_ts: datetime = Field(description="Start of the interval. [UTC]")
    mean_voltage_v: float = Field(description="Mean voltage of the readings in it. [V]")
    min_voltage_v: float = Field(description="Lowest reading in it. [V]")
    readings: Count = Field(description="Readings in it. [count]")


class AnomalyDetail(Answer):
    """An event with the voltage around it."""

    anomaly: Anomaly = Field(description="The event.")
    window: Window = Field(description="The time that the traces show.")
    traces: list[Trace] = Field(
        description="Voltage of every meter of the pole, the event's meter first."
    )
    traces_truncated: bool = Field(
        description="Whether the event goes on after the traces, which are bounded."
    )
    interval_means: list[IntervalMean] = Field(
        description="5-, 15- and 60-minute means of the event's meter over its first hour: what "
        "meters of the old kind would have shown; empty while it is provisional."
    )


class Meter(Answer):
    """A meter."""

    meter_id: Identifier = Field(description="Meter.")
    pole_id: str | None = Field(description="Pole.")
    transformer_id: str | None = Field(description="Transformer that feeds it.")
    feeder_id: str | None = Field(description="Feeder.")
    nominal_voltage_v: float = Field(description="Nominal voltage. [V]")
    sample_interval_ms: int = Field(description="Time between two samples. [ms]")
    time_zone: str = Field(description="IANA time zone.")
    is_registered: bool = Field(description="Whether the registry describes it.")
    first_seen_ts: datetime | None = Field(description="event_ts of its oldest reading. [UTC]")
    last_seen_ts: datetime | None = Field(description="event_ts of its newest reading. [UTC]")


class Counts(Answer):
    """What was expected of a meter and what became of it."""

    expected: Count = Field(description="Time in service / sample interval. [count]")
    received: Count = Field(description="Readings that were measured. [count]")
    missing: Count = Field(description="Expected and not received. [count]")
    lost: Count = Field(description="Of the missing, holes in seq. [count]")
    not_sampled: Count = Field(description="Of the missing, never taken. [count]")
    coverage: float | None = Field(description="min(1, received / expected).")
    late: Count = Field(description="Received late. [count]")
    estimated_readings: Count = Field(description="Flagged estimated, not received. [count]")
    stored_rows: Count = Field(description="Rows stored, copies included. [count]")
    duplicates: Count = Field(description="Of them, copies. [count]")
    conflicts: Count = Field(description="Copies that contradict what was kept. [count]")


class QualityTotal(Counts):
    """The window as a whole."""

    hours: Count = Field(description="Hours in service or with stored rows. [count]")
    missing_rate: float | None = Field(description="missing / expected.")
    latency_max_s: float | None = Field(description="Longest way from meter to storage. [s]")


class QualityHour(Counts):
    """One UTC hour."""

    hour_ts: datetime = Field(description="Its start. [UTC]")
    is_in_service: bool = Field(description="Whether the meter was in service.")
    latency_median_s: float | None = Field(description="Median way to storage. [s]")
    latency_p95_s: float | None = Field(description="95th percentile. [s]")
    latency_max_s: float | None = Field(description="Longest. [s]")


class VoltageDay(Answer):
    """Voltage of one local day, from 10-minute RMS values."""

    local_date: date = Field(description="Day in the meter's time zone.")
    time_zone: str = Field(description="IANA time zone.")
    status: str = Field(description="assessed, no_valid_interval or not_assessable.")
    valid_intervals: Count = Field(description="Valid 10-minute intervals. [count]")
    range_a_share: float | None = Field(description="Of them in ANSI C84.1 Range A.")
    range_b_share: float | None = Field(description="Of them in Range B and outside A.")
    out_share: float | None = Field(description="Of them outside Range B.")
    en50160_within_share: float | None = Field(description="Of them within ± 10 % (EN 50160).")
    min_rms_v: float | None = Field(description="Lowest. [V]")
    mean_rms_v: float | None = Field(description="Mean. [V]")
    max_rms_v: float | None = Field(description="Highest. [V]")


class MeterQuality(Answer):
    """How complete, timely and in range a meter's readings are."""

    meter: Meter = Field(description="The meter.")
    window: Window = Field(description="The window, widened to whole UTC hours.")
    total: QualityTotal = Field(description="All hours of the window.")
    hours: list[QualityHour] = Field(description="Hour by hour.")
    voltage_days: list[VoltageDay] = Field(description="Local days that the window touches.")


class MeterCounts(Meter, QualityTotal):
    """A meter and what was received of it in a window."""


class FleetHour(Counts):
    """One UTC hour of all meters."""

    hour_ts: datetime = Field(description="Its start. [UTC]")
    meters: Count = Field(description="Meters in service or with stored rows. [count]")
    missing_rate: float | None = Field(description="missing / expected.")
    latency_max_s: float | None = Field(description="Longest way from meter to storage. [s]")


class FleetQuality(Page):
    """How complete and timely the readings of all meters are."""

    window: Window = Field(description="The window, widened to whole UTC hours.")
    hours: list[FleetHour] = Field(description="All meters together, hour by hour.")
    meters: list[MeterCounts] = Field(description="This page's meters by name.")


class RefusedReadings(Answer):
    """Readings that were refused for one reason."""

    code: str = Field(description="Why.", examples=["out_of_range"])
    field: str | None = Field(description="Field that is wrong.", examples=["voltage_v"])
    letters: Count = Field(description="Dead letters. [count]")
    readings: Count = Field(
        description="Readings in them; a payload that could not be read counts as one. [count]"
    )
    first_ts: datetime = Field(description="Arrival of the first. [UTC]")
    last_ts: datetime = Field(description="Arrival of the last. [UTC]")


class DeadLetters(Answer):
    """What was refused and has not been stored since."""

    window: Window = Field(description="When it arrived.")
    is_known: bool = Field(description="Whether the dead letter can be asked from here.")
    letters: Count = Field(description="Dead letters. [count]")
    readings: Count = Field(description="Readings in them. [count]")
    reasons: list[RefusedReadings] = Field(description="By code and field, most readings first.")


class DrRequest(BaseModel):
    """An event to be judged: as it was called, or as it might have been."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "start": "2026-03-03T16:00:00Z",
                    "end": "2026-03-03T20:00:00Z",
                    "pole_ids": ["pole-0001"],
                    "method": "caiso_10_of_10",
                    "adjustment": "own",
                }
            ]
        },
    )

    start: Rfc3339 = Field(description="Begin of the event, on a 5-minute mark.")
    end: Rfc3339 = Field(description="End of the event, on a 5-minute mark; at most 24 h long.")
    pole_ids: Annotated[list[Identifier], Field(min_length=1, max_length=1000)] | Literal["all"] = (
        Field("all", description="Poles that were called, at most 1000, or all.")
    )
    method: Method = Field(Method.CAISO, description="Baseline method.")
    adjustment: Adjustment = Field(
        Adjustment.OWN, description="Adjustment by the hours before; own: the method's own."
    )


class Shed(Answer):
    """Energies of an event."""

    baseline_kwh: float | None = Field(description="What would have been drawn. [kWh]")
    actual_kwh: float | None = Field(description="What was drawn. [kWh]")
    shed_kwh: float | None = Field(description="baseline_kwh - actual_kwh. [kWh]")
    shed_pct: float | None = Field(
        description="shed_kwh of baseline_kwh; null where the baseline is not positive. [%]"
    )
    rebound_kwh: float | None = Field(
        description="Extra use after the end; positive is extra use. [kWh]"
    )


class DrTotal(Shed):
    """All poles together; null when one of them is unknown."""

    poles: Count = Field(description="Poles that were called. [count]")
    unknown_poles: list[str] = Field(description="Poles without a total of their own.")
    coverage: float | None = Field(
        description="Slots with both baseline and actual / slots, of all poles."
    )


class Accuracy(Answer):
    """How far the method is off where there was no event, at the default DR window."""

    gate: Gate = Field(description="pass up to an RRMSE of 20 %.")
    placebo_days: Count = Field(description="Days without an event that were asked. [count]")
    placebo_hours: Count = Field(description="Hours of them. [count]")
    mean_actual_kw: float | None = Field(description="Mean power in them. [kW]")
    rrmse: float | None = Field(description="√mean((baseline - actual)²) / mean(actual).")
    bias: float | None = Field(description="Σ(baseline - actual) / Σactual.")


class DrPole(Shed):
    """One pole."""

    pole_id: Identifier = Field(description="Pole.")
    event_slots: Count = Field(description="5-minute slots of the event. [count]")
    valid_slots: Count = Field(description="Slots with both baseline and actual. [count]")
    coverage: float | None = Field(description="valid_slots / event_slots.")
    adjust_factor: float | None = Field(description="Factor on the baseline.")
    adjust_offset_kw: float | None = Field(description="Offset on the baseline. [kW]")
    adjust_fallback: bool | None = Field(
        description="Whether the multiplicative adjustment fell back to the additive one."
    )
    null_reason: str | None = Field(
        description="Why there is no total.", examples=["insufficient_days"]
    )
    accuracy: Accuracy | None = Field(description="Accuracy for this pole; null without any.")


class DrInterval(Answer):
    """One 5-minute slot, all poles together."""

    slot_ts: datetime = Field(description="Its start. [UTC]")
    phase: Literal["before", "event", "rebound"] = Field(description="Part of the event.")
    baseline_kw: float | None = Field(description="Baseline; null when one pole has none. [kW]")
    actual_kw: float | None = Field(description="Power; null when one pole has none. [kW]")
    shed_kw: float | None = Field(description="Shed; null when one pole has none. [kW]")
    poles: Count = Field(description="Poles. [count]")
    known_poles: Count = Field(description="Of them, with a shed. [count]")


class Gates(Answer):
    """Accuracy gates of the poles, counted."""

    gate: Gate = Field(description="pass when all poles pass, fail when one fails.")
    passed: Count = Field(description="Poles that pass. [count]")
    failed: Count = Field(description="Poles that fail. [count]")
    not_assessable: Count = Field(description="Poles that cannot be assessed. [count]")


class DrResult(Answer):
    """What an event shed."""

    window: Window = Field(description="The event.")
    method: Method = Field(description="Baseline method.")
    adjustment: Adjustment = Field(description="Adjustment that was made.")
    total: DrTotal = Field(description="All poles together.")
    accuracy: Gates = Field(description="Whether the numbers can be trusted.")
    poles: list[DrPole] = Field(description="Pole by pole.")
    intervals: list[DrInterval] = Field(
        description="Slot by slot, from 4 h before the event to the end of the rebound."
    )


class DrEventTotal(Shed):
    """An event by one method and adjustment."""

    method: Method = Field(description="Baseline method.")
    adjustment: Adjustment = Field(description="Adjustment.")
    is_own_adjustment: bool = Field(description="Whether it is the method's own.")
    poles: Count = Field(description="Poles that were called. [count]")
    unknown_poles: list[str] = Field(description="Poles without a total of their own.")


class DrEvent(Answer):
    """An event that was called."""

    event_id: str = Field(description="Event.", examples=["heat-1"])
    start: datetime = Field(description="Begin. [UTC]")
    end: datetime = Field(description="End. [UTC]")
    pole_ids: list[str] | Literal["all"] = Field(description="Poles that were called.")
    program: str | None = Field(description="Program.")
    notes: str | None = Field(description="Notes.")
    totals: list[DrEventTotal] = Field(
        description="Totals by method and adjustment; empty until a build has met the event."
    )


class DrEvents(Page):
    """Called events, newest first."""

    events: list[DrEvent] = Field(description="This page's events.")


class Hop(StrEnum):
    """A part of a reading's way that is stale."""

    METER = "meter"
    POLE = "pole"
    PIPELINE = "pipeline"
    ORCHESTRATION = "orchestration"


class StaleHop(Answer):
    """What is stale, and since when."""

    hop: Hop = Field(
        description="meter: others of its pole are heard; pole: its gateway or backhaul; "
        "pipeline: nothing arrives; orchestration: readings arrive and the marts are old."
    )
    subject: str | None = Field(description="The meter or pole; null for the others.")
    since_ts: datetime | None = Field(description="Newest reading from there. [UTC]")


class PoleFreshness(Answer):
    """How new the readings of a pole are."""

    pole_id: Identifier = Field(description="Pole.")
    feeder_id: str | None = Field(description="Feeder.")
    newest_event_ts: datetime | None = Field(description="event_ts of its newest reading. [UTC]")
    age_s: float | None = Field(description="Time since then. [s]")
    is_fresh: bool = Field(description="Whether one of its meters is heard in time.")


class Freshness(Answer):
    """How new everything is, and which hop is stale."""

    at: datetime = Field(description="When this was looked at. [UTC]")
    streaming_objective_s: float = Field(
        description="Readings should be newer; those of a meter whose three sample intervals are "
        "longer, newer than these. [s]"
    )
    analytics_objective_s: float = Field(description="Marts should be newer. [s]")
    landed_newest_event_ts: datetime | None = Field(
        description="Newest reading that is stored; null where the storage is not asked. [UTC]"
    )
    marts_newest_event_ts: datetime | None = Field(
        description="Newest reading that the marts have seen. [UTC]"
    )
    published_at: datetime = Field(description="When the marts were published. [UTC]")
    published_age_s: float = Field(description="Time since then. [s]")
    stale: list[StaleHop] = Field(
        description="Causes only: nothing of poles while nothing arrives, nothing of a pole's "
        "meters while the pole is silent."
    )
    poles: list[PoleFreshness] = Field(description="Every pole by name.")


class ProblemItem(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="Parameter or body field.", examples=["query.start"])
    detail: str = Field(description="What is wrong with it.")


class Problem(BaseModel):
    """A problem as of RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Kind of problem.", examples=["urn:ami:problem:unknown-pole"])
    title: str = Field(description="The kind in words.")
    status: int = Field(description="HTTP status.", ge=400, le=599)
    detail: str = Field(description="What happened and what to do.")
    errors: list[ProblemItem] | None = Field(
        None, description="What is wrong, one by one, when the request itself is."
    )


def table_columns(model: type[BaseModel]) -> list[str]:
    """Columns of a model as CSV: its fields, nested ones with their parent's name before."""
    columns: list[str] = []
    for name, info in model.model_fields.items():
        nested = info.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            columns += [f"{name}.{column}" for column in table_columns(nested)]
        else:
            columns.append(name)
    return columns


def table_row(item: BaseModel) -> list[Any]:
    """Cells of an item in the order of `table_columns`."""
    cells: list[Any] = []
    for name in type(item).model_fields:
        value = getattr(item, name)
        cells += table_row(value) if isinstance(value, BaseModel) else [value]
    return cells
