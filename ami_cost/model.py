"""Reads a fleet, prices and measured sizes; gives what Google Cloud bills, line by line.

Pure arithmetic: readings → messages, bytes, cores and scanned bytes → quantities → USD. What a
query scans comes from the columns and days that the models' statements read (docs/dbt.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ami_contract.errors import SettingsError
from ami_cost.measured import Encoding, Measured, WriteMethod, message_bytes, row_bytes
from ami_cost.prices import Name, Price, Prices

DAY_S: Final = 86_400
MONTH_DAYS: Final = 30
LONG_TERM_AFTER_DAYS: Final = 90
"""BigQuery halves the price of a partition that has not changed for so long."""

WORKER_CORES: Final = 2
WORKER_MEMORY_GB: Final = 8
WORKER_DISK_GB: Final = 30
TARGET_LOAD: Final = 0.7
"""Load that Dataflow's autoscaling settles at; Google's own measurement of a like pipeline:
https://cloud.google.com/dataflow/docs/guides/kafka-bigquery-performance
"""
ENGINE_PASSES: Final = 2
"""How often a payload goes through Streaming Engine: read, and grouped for the archive. Assumption
from the graph; Dataflow's metric of data processed tells it."""

# Bytes that a tick of 5 minutes and a build of everything read at the end of a full day, of 1 000
# meters at 1 Hz (docs/dbt.md, "What is billed"); a test compares them with that page.
SURVEY_METERS: Final = 1000
SURVEY_READINGS: Final = SURVEY_METERS * DAY_S
TICK_READING_BYTES: Final = 83.01e9
TICK_MINUTE_BYTES: Final = 1.21e9
TICK_BYTES_PER_LAKE_DAY: Final = 55e6
BUILD_BYTES: Final = 114e9
BUILD_BYTES_PER_LAKE_DAY: Final = 135e6
STAGED_BYTES: Final = 16.76e9
MINUTE_BYTES: Final = 0.30e9
LARGEST_STATEMENT_BYTES: Final = 2 * STAGED_BYTES
"""The MERGE that overwrites the open day of `stg_readings`: its new rows and the old."""
OPEN_DAY_SHARE: Final = 0.5
"""The open day is half full on average."""

QUERY_LEAST_BYTES: Final = 10 * 2**20
"""BigQuery bills no query below this."""
API_REQUEST_S: Final = 0.1
FIGURES_RUNS_PER_DAY: Final = 288
FIGURES_RUN_S: Final = 60.0
"""A Cloud Run job is billed for a minute at least."""
VM_BOOT_GB: Final = 20
VM_DATA_GB: Final = 20


class ScenarioError(SettingsError):
    """A value that no scenario can have.

    Attributes:
        field: of `Scenario`.
        said: its value, and which values there are.
    """

    def __init__(self, field: str, value: object, wanted: str) -> None:
        super().__init__(f"{field}={value}: {wanted}")
        self.field = field
        self.said = f"{value}: {wanted}"


@dataclass(frozen=True)
class Scenario:
    """What is run.

    Attributes:
        meters: how many.
        hz: readings per second of each (Hz).
        days: days that are billed; free tiers are those of a month.
        encoding: what gateways send.
        meters_per_pole: meters behind one gateway.
        batch_s: seconds that a gateway collects into one message.
        messages_per_request: messages that a gateway publishes at once.
        write_method: how rows get into BigQuery.
        keep_days: days of readings that BigQuery holds.
        archive_days: days that the raw archive holds.
        nearline_days: age at which archived files move to Nearline (days); 0: never.
        archive_minutes: minutes of one archive file.
        tick_minutes: minutes between two ticks of sag detection; 0: none between the hours.
        slots: reserved BigQuery slots that replace the price by bytes; 0: by bytes.
        api_requests_per_day: questions to the API.
        dashboard_hours_per_day: hours in which somebody looks at the dashboard.

    Raises:
        ScenarioError: a value is out of bounds; names its field.
    """

    meters: int = 1000
    hz: float = 1.0
    days: float = MONTH_DAYS
    encoding: Encoding = Encoding.BATCH
    meters_per_pole: int = 10
    batch_s: float = 30.0
    messages_per_request: int = 1
    write_method: WriteMethod = WriteMethod.STORAGE_WRITE_API
    keep_days: float = 365.0
    archive_days: float = 365.0
    nearline_days: float = 0.0
    archive_minutes: int = 1
    tick_minutes: float = 5.0
    slots: int = 0
    api_requests_per_day: float = 10_000.0
    dashboard_hours_per_day: float = 8.0

    def __post_init__(self) -> None:
        for name in ("meters", "hz", "days", "meters_per_pole", "batch_s", "messages_per_request"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ScenarioError(name, getattr(self, name), "a number above 0")
        for name in (
            "keep_days", "archive_days", "nearline_days", "tick_minutes", "slots",
            "api_requests_per_day", "dashboard_hours_per_day",
        ):  # fmt: skip
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ScenarioError(name, getattr(self, name), "0 or more")
        if self.archive_minutes not in (1, 5):
            raise ScenarioError("archive_minutes", self.archive_minutes, "1 or 5")

    @property
    def readings_per_s(self) -> float:
        """Readings of all meters (1/s)."""
        return self.meters * self.hz

    @property
    def readings_per_day(self) -> float:
        """Readings of all meters in a day."""
        return self.readings_per_s * DAY_S

    @property
    def poles(self) -> int:
        """Gateways."""
        return math.ceil(self.meters / self.meters_per_pole)

    @property
    def readings_per_message(self) -> float:
        """Readings in a message; a reading at least."""
        if self.encoding is Encoding.SINGLE:
            return 1.0
        behind = min(self.meters, self.meters_per_pole)
        return max(1.0, behind * self.hz * self.batch_s)


@dataclass(frozen=True)
class Line:
    """A line of the bill.

    Attributes:
        service, item: what is billed.
        quantity: units used.
        unit: of the quantity and its price.
        usd: cost beyond the free units (USD).
        setting: what changes it.
    """

    service: str
    item: str
    quantity: float
    unit: str
    usd: float
    setting: str


@dataclass(frozen=True)
class Estimate:
    """The bill of a scenario.

    Attributes:
        scenario: what is run.
        lines: of the bill.
        workers: Dataflow workers that are needed.
        largest_statement_bytes: what the largest statement of a tick bills at a day's end.
        slots_at_par: reserved slots that cost what the scanned bytes cost; infinite where slots
            cost nothing.
    """

    scenario: Scenario
    lines: Sequence[Line]
    workers: int
    largest_statement_bytes: float
    slots_at_par: float

    @property
    def usd(self) -> float:
        """All lines (USD)."""
        return sum(line.usd for line in self.lines)

    @property
    def months(self) -> float:
        """How many months of 30 days are billed."""
        return self.scenario.days / MONTH_DAYS

    def per_meter_month(self, usd: float) -> float:
        """A sum of the bill per meter and month of 30 days (USD)."""
        return usd / self.scenario.meters / self.months

    def by_service(self) -> dict[str, float]:
        """Cost by service (USD), in the order of the lines."""
        totals: dict[str, float] = {}
        for line in self.lines:
            totals[line.service] = totals.get(line.service, 0.0) + line.usd
        return totals

    @property
    def dominating(self) -> Line:
        """The dearest line."""
        return max(self.lines, key=lambda line: line.usd)


def estimate(scenario: Scenario, prices: Prices, measured: Measured) -> Estimate:
    """The bill of a scenario."""
    bill = _Bill(scenario, prices)
    workers = workers_needed(scenario, measured)
    lines = [
        *_pubsub(bill, measured),
        *_dataflow(bill, measured, workers),
        *_archive(bill, measured),
        *_warehouse(bill),
        *_queries(bill),
        *_cloud_run(bill),
        *_dagster(bill),
    ]
    on_demand = prices["bigquery_on_demand"].cost_usd(scanned_bytes(scenario) / 2**40, bill.months)
    slot_usd = bill.hours * prices["bigquery_slot"].usd
    return Estimate(
        scenario,
        lines,
        workers,
        LARGEST_STATEMENT_BYTES * scenario.readings_per_day / SURVEY_READINGS,
        on_demand / slot_usd if slot_usd else math.inf,
    )


@dataclass(frozen=True)
class _Bill:
    scenario: Scenario
    prices: Prices

    @property
    def months(self) -> float:
        return self.scenario.days / MONTH_DAYS

    @property
    def hours(self) -> float:
        return self.scenario.days * 24

    def line(self, service: str, item: str, quantity: float, price: Name, setting: str) -> Line:
        found: Price = self.prices[price]
        usd = found.cost_usd(quantity, self.months)
        return Line(service, item, quantity, found.unit, usd, setting)


def billed_message_bytes(scenario: Scenario, measured: Measured) -> float:
    """Bytes that Pub/Sub bills for a message, once for its publication and once for its delivery.

    A request counts 1 000 bytes at least: https://cloud.google.com/pubsub/pricing
    """
    sizes = measured.sizes[scenario.encoding].pubsub
    size = message_bytes(sizes, scenario.readings_per_message)
    return max(size, 1000 / scenario.messages_per_request)


def workers_needed(scenario: Scenario, measured: Measured) -> int:
    """Dataflow workers at `TARGET_LOAD`."""
    per_core = measured.dataflow_per_core(scenario.encoding, scenario.write_method)
    return max(1, math.ceil(scenario.readings_per_s / (per_core * WORKER_CORES * TARGET_LOAD)))


def _messages(scenario: Scenario) -> float:
    return scenario.readings_per_day * scenario.days / scenario.readings_per_message


def _pubsub(bill: _Bill, measured: Measured) -> Iterator[Line]:
    scenario = bill.scenario
    moved = 2 * _messages(scenario) * billed_message_bytes(scenario, measured)
    yield bill.line(
        "Pub/Sub",
        "publish and deliver",
        moved / 2**40,
        "pubsub_throughput",
        "simulation publish_mode, payload, batch_interval_s",
    )


def _dataflow(bill: _Bill, measured: Measured, workers: int) -> Iterator[Line]:
    scenario = bill.scenario
    busy = workers * bill.hours
    machine = "dataflow_max_workers, dataflow_machine_type, bq_write_method"
    yield bill.line("Dataflow", "vCPU", busy * WORKER_CORES, "dataflow_vcpu", machine)
    yield bill.line("Dataflow", "memory", busy * WORKER_MEMORY_GB, "dataflow_memory", machine)
    yield bill.line("Dataflow", "disks", busy * WORKER_DISK_GB, "dataflow_disk", machine)
    sizes = measured.sizes[scenario.encoding].pubsub
    payload = _messages(scenario) * message_bytes(sizes, scenario.readings_per_message)
    yield bill.line(
        "Dataflow",
        "Streaming Engine",
        ENGINE_PASSES * payload / 2**30,
        "dataflow_streaming_engine",
        "simulation payload",
    )


def _archive(bill: _Bill, measured: Measured) -> Iterator[Line]:
    scenario = bill.scenario
    sizes = measured.sizes[scenario.encoding].archive
    per_day = (
        scenario.readings_per_day
        / scenario.readings_per_message
        * message_bytes(sizes, scenario.readings_per_message)
    )
    young_days = scenario.archive_days
    if scenario.nearline_days:
        young_days = min(young_days, scenario.nearline_days)
    gb = per_day / 2**30 * bill.months
    kept = "archive_keep_days, simulation payload"
    yield bill.line("Storage", "archive, standard", gb * young_days, "storage_standard", kept)
    old_days = scenario.archive_days - young_days
    if old_days:
        yield bill.line("Storage", "archive, Nearline", gb * old_days, "storage_nearline", kept)
    stretches_per_day = min(DAY_S / 60 / scenario.archive_minutes, scenario.hz * DAY_S)
    files = scenario.poles * stretches_per_day * scenario.days
    yield bill.line(
        "Storage", "archive, files", files / 1000, "storage_write_operation", "archive_minutes"
    )
    if old_days:
        yield bill.line(
            "Storage",
            "archive, moves",
            files / 1000,
            "storage_move_to_nearline",
            "archive_nearline_days, archive_minutes",
        )


def _warehouse(bill: _Bill) -> Iterator[Line]:
    scenario = bill.scenario
    raw_per_day = scenario.readings_per_day * row_bytes()
    written = raw_per_day * scenario.days / 2**30
    if scenario.write_method is WriteMethod.STORAGE_WRITE_API:
        yield bill.line(
            "BigQuery", "Storage Write API", written, "bigquery_write_api", "bq_write_method"
        )
    elif scenario.write_method is WriteMethod.STREAMING_INSERTS:
        # A row counts 1 kB at least, as Google's page says.
        billed = max(1.0, 1000 / row_bytes()) * written
        yield bill.line(
            "BigQuery", "streaming inserts", billed, "bigquery_streaming_inserts", "bq_write_method"
        )
    stored = stored_bytes_per_day(scenario) / 2**30 * bill.months
    active_days = min(scenario.keep_days, LONG_TERM_AFTER_DAYS)
    keep = "bq_expiry_days (demos only)"
    yield bill.line(
        "BigQuery", "storage, active", stored * active_days, "bigquery_storage_active", keep
    )
    yield bill.line(
        "BigQuery",
        "storage, long-term",
        stored * (scenario.keep_days - active_days),
        "bigquery_storage_long_term",
        keep,
    )


def stored_bytes_per_day(scenario: Scenario) -> float:
    """Logical bytes that a day adds to BigQuery: raw and staged readings, minutes, all else."""
    per_reading = row_bytes() + STAGED_BYTES / SURVEY_READINGS
    per_meter = MINUTE_BYTES * _minutes_share(scenario) + BUILD_BYTES_PER_LAKE_DAY
    return scenario.readings_per_day * per_reading + scenario.meters * per_meter / SURVEY_METERS


def _minutes_share(scenario: Scenario) -> float:
    """Share of a day's minutes in which a meter has a reading."""
    return min(1.0, scenario.hz * 60)


def tick_bytes(scenario: Scenario) -> float:
    """Bytes that a tick of 5 minutes reads, at the average time of the day."""
    reading = TICK_READING_BYTES * scenario.readings_per_day / SURVEY_READINGS
    fleets = scenario.meters / SURVEY_METERS
    minute = TICK_MINUTE_BYTES * fleets * _minutes_share(scenario)
    lake = TICK_BYTES_PER_LAKE_DAY * fleets * scenario.keep_days
    return OPEN_DAY_SHARE * (reading + minute) + lake


def build_bytes(scenario: Scenario, day_share: float) -> float:
    """Bytes that a build of everything reads when the open day is so full."""
    fleets = scenario.meters / SURVEY_METERS
    reading_bytes = BUILD_BYTES - TICK_MINUTE_BYTES
    reading = reading_bytes * scenario.readings_per_day / SURVEY_READINGS
    minute = TICK_MINUTE_BYTES * fleets * _minutes_share(scenario)
    return day_share * (reading + minute) + BUILD_BYTES_PER_LAKE_DAY * fleets * scenario.keep_days


def scanned_bytes(scenario: Scenario) -> float:
    """Bytes that ticks, hourly and daily builds and the API's questions read."""
    return sum(bytes_ for _, bytes_, _ in _scans(scenario))


def _scans(scenario: Scenario) -> Iterator[tuple[str, float, str]]:
    days = scenario.days
    if scenario.tick_minutes:
        ticks = days * DAY_S / 60 / scenario.tick_minutes
        yield "queries, ticks", ticks * tick_bytes(scenario), "schedule sags_every_5_minutes"
    hourly = days * 24 * build_bytes(scenario, OPEN_DAY_SHARE)
    yield "queries, hourly builds", hourly, "schedule hours_hourly"
    yield "queries, daily builds", days * build_bytes(scenario, 1.0), "schedule days_daily"
    asked = days * scenario.api_requests_per_day * QUERY_LEAST_BYTES
    yield "queries, API", asked, "AMI_API_CACHE_BYTES, AMI_API_LIVE_TAIL_S"


def _queries(bill: _Bill) -> Iterator[Line]:
    scenario = bill.scenario
    if scenario.slots:
        yield bill.line(
            "BigQuery",
            "queries, reserved slots",
            scenario.slots * bill.hours,
            "bigquery_slot",
            "the reservation",
        )
        return
    # Free bytes go to the first of the lines, so that lines add up to the bill.
    price = bill.prices["bigquery_on_demand"]
    free = price.free * max(1.0, bill.months)
    for item, scanned, setting in _scans(scenario):
        tib = scanned / 2**40
        used = min(free, tib)
        free -= used
        yield Line("BigQuery", item, tib, price.unit, (tib - used) * price.usd, setting)


def _cloud_run(bill: _Bill) -> Iterator[Line]:
    scenario = bill.scenario
    requests = scenario.days * scenario.api_requests_per_day
    # API: 1 vCPU and 1 GiB while it answers; the dashboard's service has two such containers.
    busy_s = requests * API_REQUEST_S
    watched_s = scenario.days * scenario.dashboard_hours_per_day * 3600
    service_s = busy_s + 2 * watched_s
    yield bill.line(
        "Cloud Run", "API, dashboard vCPU", service_s, "run_service_vcpu", "api_min_instances"
    )
    yield bill.line(
        "Cloud Run", "API, dashboard memory", service_s, "run_service_memory", "api_min_instances"
    )
    yield bill.line("Cloud Run", "requests", requests / 1e6, "run_requests", "api_max_instances")
    job_s = scenario.days * FIGURES_RUNS_PER_DAY * FIGURES_RUN_S
    yield bill.line("Cloud Run", "figures job vCPU", job_s, "run_job_vcpu", "api_image")
    yield bill.line("Cloud Run", "figures job memory", job_s, "run_job_memory", "api_image")


def _dagster(bill: _Bill) -> Iterator[Line]:
    yield bill.line(
        "Dagster host", "machine", bill.hours, "machine_e2_standard_2", "dagster_machine_type"
    )
    yield bill.line(
        "Dagster host",
        "disks",
        (VM_BOOT_GB + VM_DATA_GB) * bill.months,
        "disk_balanced",
        "dagster_disk_gb",
    )
