"""Import: reads a CSV or Parquet file of somebody else's shape, gives stored readings.

The file plays the gateway: its rows become NDJSON messages that go through the very graph live
messages take, so validation, archive, landing and dead letter are the same. A cell that cannot be
read keeps its text, so that the dead letter can show it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

from ami_contract.errors import ReadingRejected, SettingsError
from ami_contract.lake import DataDir
from ami_contract.reading import SCHEMA_VERSION, Attribute, ContentType
from ami_contract.registry import REGISTRY_SCHEMA
from ami_store.files import write_bytes
from ami_store.registry import merge_registry
from beam_jobs.bounded import BoundedGraph
from beam_jobs.checks import INT64_MAX, check_reading
from beam_jobs.decode import PayloadBounds
from beam_jobs.elements import Message, MessageBatch
from beam_jobs.import_map import ImportMap, zone_of
from beam_jobs.import_rows import RaggedRow, read_columns, read_rows
from beam_jobs.pipeline import Ingest

log = logging.getLogger("ami.import")

ROWS_PER_MESSAGE: Final = 1000
MESSAGES_PER_RUN: Final = 200
_SEQ_ORIGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
_COUNTER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_UNIX_UNITS: Final = {"unix_s": 1.0, "unix_ms": 1000.0}


@dataclass(frozen=True)
class ImportSummary:
    """What an import did.

    Attributes:
        import_id: hash of file and map.
        file: its name.
        started_at: ISO 8601; the `ingest_ts` of its readings.
        finished: False in the record of an import that was cut off.
        rows: data rows read.
        stored: readings stored.
        refused: rows in the dead letter by code.
        meters_added: meters new to the registry.
        repeated: whether all this had been done by an earlier import.
    """

    import_id: str
    file: str
    started_at: str
    finished: bool = False
    rows: int = 0
    stored: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    meters_added: int = 0
    repeated: bool = False


def import_id(path: Path, mapping: ImportMap) -> str:
    """Identity of an import: the bytes of the file and the map."""
    digest = hashlib.sha256(mapping.model_dump_json().encode())
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:24]


def import_file(
    data: DataDir,
    path: Path,
    mapping: ImportMap,
    *,
    now: Callable[[], datetime],
    bounds: PayloadBounds,
    progress: Callable[[int], None] = lambda rows: None,
) -> ImportSummary:
    """Import a file; importing it again changes nothing.

    Args:
        data: where to store.
        path: `.csv` (optionally `.gz`, `.bz2`, `.zst`) or `.parquet`.
        mapping: how its rows become readings.
        now: wall clock.
        bounds: as for the ingest.
        progress: called with the rows read so far.

    Raises:
        SettingsError: the file cannot be read or lacks a column of the map; nothing was written.
        LakeError: the lake cannot be written; run it again when mended.
    """
    _check_columns(path, mapping)
    identity = import_id(path, mapping)
    record = data.imports / f"{identity}.json"
    summary = _begin(record, identity, path, now())
    if summary.finished:
        return ImportSummary(**{**asdict(summary), "repeated": True})
    ingest_ts = datetime.fromisoformat(summary.started_at)
    graph = BoundedGraph(Ingest(data.root, bounds))
    meters: dict[str, _Meter] = {}
    counters: Counter[str] = Counter()
    rows = 0
    messages = _messages(path, mapping, identity, ingest_ts, meters)
    for run in itertools.count():
        chunk = list(itertools.islice(messages, MESSAGES_PER_RUN))
        if not chunk:
            break
        batch = MessageBatch(f"import-{identity}-{run:05d}", ingest_ts, [m for m, _ in chunk])
        counters.update(graph.run([batch]).counters)
        rows += sum(count for _, count in chunk)
        progress(rows)
    added = merge_registry(data.registry, _registry_rows(meters, mapping))
    done = ImportSummary(
        identity,
        path.name,
        summary.started_at,
        finished=True,
        rows=rows,
        stored=counters["stored"],
        refused={
            name.removeprefix("refused."): count
            for name, count in sorted(counters.items())
            if name.startswith("refused.")
        },
        meters_added=added,
    )
    write_bytes(record, json.dumps(asdict(done), indent=2).encode())
    return done


def _begin(record: Path, identity: str, path: Path, started: datetime) -> ImportSummary:
    """The record of an earlier try, else a new one: a try cut off goes on with its own clock."""
    if record.exists():
        return ImportSummary(**json.loads(record.read_bytes()))
    summary = ImportSummary(identity, path.name, started.astimezone(UTC).isoformat())
    write_bytes(record, json.dumps(asdict(summary), indent=2).encode())
    return summary


def _check_columns(path: Path, mapping: ImportMap) -> None:
    found = read_columns(path, mapping)
    absent = [name for name in mapping.columns if name not in found]
    if absent:
        raise SettingsError(
            f"{path}: the map names the column {absent[0]!r}, which the file does not have; "
            f"it has {', '.join(found)}"
        )


@dataclass
class _Meter:
    pole_id: str
    first: datetime
    last: datetime


def _messages(
    path: Path,
    mapping: ImportMap,
    identity: str,
    ingest_ts: datetime,
    meters: dict[str, _Meter],
) -> Iterator[tuple[Message, int]]:
    convert = _Converter(mapping)
    rows = read_rows(path, mapping)
    for number in itertools.count():
        chunk = list(itertools.islice(rows, ROWS_PER_MESSAGE))
        if not chunk:
            return
        readings: list[dict[str, Any] | str] = []
        for row in chunk:
            if isinstance(row, RaggedRow):
                # Not an object, so the graph refuses it and shows this text.
                readings.append(str(row))
                continue
            reading = convert.reading(row)
            _note_meter(meters, reading, ingest_ts)
            readings.append(reading)
        name = f"import-{identity}-{number:06d}"
        attributes = {
            Attribute.CONTENT_TYPE.value: ContentType.NDJSON.value,
            Attribute.SCHEMA_VERSION.value: SCHEMA_VERSION,
            Attribute.BATCH_ID.value: name,
            Attribute.SOURCE_FILE.value: path.name,
            Attribute.FIRST_ROW.value: str(number * ROWS_PER_MESSAGE + 1),
        }
        payload = b"\n".join(orjson.dumps(reading) for reading in readings)
        yield Message(name, ingest_ts, attributes, payload), len(chunk)


def _note_meter(meters: dict[str, _Meter], reading: dict[str, Any], now: datetime) -> None:
    """Note the meter of a reading that will be stored; a refused one says nothing of service."""
    try:
        checked = check_reading(reading, now=now)
    except ReadingRejected:
        return
    meter_id, pole_id, stamp = checked["meter_id"], checked["pole_id"], checked["event_ts"]
    meter = meters.setdefault(meter_id, _Meter(pole_id, stamp, stamp))
    if stamp < meter.first:
        meter.first, meter.pole_id = stamp, pole_id
    meter.last = max(meter.last, stamp)


def _registry_rows(meters: dict[str, _Meter], mapping: ImportMap) -> pa.Table:
    """One row per meter of the file, in service for as long as the file has readings of it."""
    interval = timedelta(seconds=mapping.sample_interval_s)
    rows = [
        {
            "meter_id": meter_id,
            "pole_id": meter.pole_id,
            "sample_interval_ms": round(mapping.sample_interval_s * 1000),
            "valid_from": meter.first,
            "valid_to": meter.last + interval,
            **mapping.registry.model_dump(),
        }
        for meter_id, meter in meters.items()
    ]
    return pa.Table.from_pylist(rows, REGISTRY_SCHEMA)


class _Converter:
    """Turns a row of the file into the JSON object of a reading."""

    def __init__(self, mapping: ImportMap) -> None:
        self._map = mapping
        self._missing = frozenset(mapping.missing_values)
        self._zone = zone_of(mapping.time_zone)
        self._seen_local: dict[tuple[str, datetime], int] = {}

    def reading(self, row: dict[str, Any]) -> dict[str, Any]:
        meter_id = self._identifier(self._map.meter_id, row)
        stamp = self._event_ts(row, meter_id)
        reading = {
            "event_ts": stamp,
            "meter_id": meter_id,
            "pole_id": self._identifier(self._map.pole_id, row),
            "seq": self._seq(row, stamp),
        }
        for name, quantity in self._map.quantities.items():
            reading[name] = self._number(row[quantity.column], self._map.factor(name))
        return reading

    def _identifier(self, identifier: Any, row: dict[str, Any]) -> Any:
        if identifier.column is None:
            return identifier.value
        value = row[identifier.column]
        if value is None or value in self._missing:
            return None
        return str(value)

    def _number(self, value: Any, factor: float) -> Any:
        if isinstance(value, str):
            text = value.strip()
            if text in self._missing:
                return None
            try:
                value = float(text.replace(",", ".") if self._map.decimal_point == "," else text)
            except ValueError:
                return text
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value if value is None else str(value)
        if not math.isfinite(value):
            return None
        return value if factor == 1.0 else value * factor

    def _seq(self, row: dict[str, Any], stamp: Any) -> Any:
        if self._map.seq is not None:
            return self._counter(row[self._map.seq])
        if not isinstance(stamp, datetime):
            return None
        return math.floor((stamp - _SEQ_ORIGIN).total_seconds() / self._map.sample_interval_s)

    def _counter(self, value: Any) -> Any:
        """A sample counter, exact as far as the contract's 64 bits go."""
        if isinstance(value, str) and _COUNTER.fullmatch(value.strip()):
            exact = int(value)
            return exact if abs(exact) <= INT64_MAX else float(exact)
        number = self._number(value, 1.0)
        whole = isinstance(number, float) and number.is_integer() and abs(number) < INT64_MAX
        return int(number) if whole else number

    def _event_ts(self, row: dict[str, Any], meter_id: Any) -> Any:
        values = [row[name] for name in self._map.event_ts.columns]
        if len(values) == 1 and isinstance(values[0], datetime):
            return self._in_utc(values[0], meter_id)
        text = " ".join(str(value) for value in values if value is not None).strip()
        if text in self._missing:
            return None
        form = self._map.event_ts.format
        try:
            if form in _UNIX_UNITS:
                return datetime.fromtimestamp(float(text) / _UNIX_UNITS[form], UTC)
            found = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007
        except (ValueError, OverflowError, OSError):
            return text
        return self._in_utc(found, meter_id)

    def _in_utc(self, stamp: datetime, meter_id: Any) -> Any:
        """UTC of a local time; its text when the zone's clock skipped it.

        Where the clock repeats an hour, a meter's second row of that time is the later one.
        """
        try:
            return self._placed(stamp, meter_id)
        except OverflowError:
            return stamp.isoformat()

    def _placed(self, stamp: datetime, meter_id: Any) -> Any:
        if stamp.tzinfo is not None:
            return stamp.astimezone(UTC)
        early = stamp.replace(tzinfo=self._zone)
        late = early.replace(fold=1)
        if early.utcoffset() == late.utcoffset():
            return early.astimezone(UTC)
        if early.utcoffset() < late.utcoffset():  # type: ignore[operator]
            return f"{stamp.isoformat()} does not exist in {self._map.time_zone}"
        key = (str(meter_id), stamp)
        self._seen_local[key] = self._seen_local.get(key, 0) + 1
        return (early if self._seen_local[key] == 1 else late).astimezone(UTC)
