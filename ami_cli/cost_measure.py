"""Reads simulated messages and benchmark results; writes the sizes and rates costs are made from.

Run as `python -m ami_cli.cost_measure` when encoder, archive or sink change. Rates are CPU times of
this machine; those of the ingest come from `benchmarks/results.json`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from apache_beam import coders
from apache_beam.io.gcp.bigquery_tools import (
    RowAsDictJsonCoder,
    beam_row_from_dict,
    get_beam_typehints_from_tableschema,
    get_dict_table_schema,
    parse_table_schema_from_json,
)
from apache_beam.typehints.row_type import RowTypeConstraint

from ami_contract.errors import SettingsError
from ami_contract.reading import ROW_FIELDS
from ami_contract.render import bigquery_schema
from ami_contract.settings import Settings
from ami_cost.measured import MEASURED, Encoding, Measured, Sizes, WriteMethod
from ami_store.files import write_bytes
from beam_jobs.archive_windows import pieces_of
from beam_jobs.bigquery_sink import beam_value, json_value, to_rows
from beam_jobs.decode import PayloadBounds, decode
from beam_jobs.elements import Message, MessageBatch, Validated
from beam_jobs.enrich import enrich
from beam_jobs.validate import validate
from simulator.config import SimulationConfig, parse_config
from simulator.publisher import CollectingPublisher
from simulator.run import simulate

RESULTS: Final = Path(__file__).resolve().parent.parent / "benchmarks" / "results.json"
READINGS_PER_MESSAGE: Final = (10, 50, 100, 300, 1000)
METERS_PER_POLE: Final = 10
_START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
_FORMS: Final[dict[Encoding, dict[str, str]]] = {
    Encoding.SINGLE: {"publish_mode": "single", "payload": "json"},
    Encoding.BATCH: {"publish_mode": "batch", "payload": "json"},
    Encoding.ARROW: {"publish_mode": "batch", "payload": "arrow"},
}
_INGEST_RESULTS: Final = {
    Encoding.SINGLE: "ingest.single.messages_per_s",
    Encoding.BATCH: "ingest.json.readings_per_s",
    Encoding.ARROW: "ingest.arrow.readings_per_s",
}
# Beside its data and attributes Pub/Sub counts the publish time and the id, of about 17 digits.
_TIME_AND_ID_BYTES: Final = 20 + 17


def messages(encoding: Encoding, readings: int, *, batches: int = 4) -> list[Message]:
    """Messages of one simulated pole with ten faultless meters at 1 Hz, `batches` full ones.

    Args:
        encoding: what the gateway sends.
        readings: in a message, a multiple of ten; with `single` of a window.
        batches: how many windows.
    """
    window_s = readings // METERS_PER_POLE
    config = _config(encoding, window_s, readings)
    publisher = CollectingPublisher()
    end = _START + timedelta(seconds=window_s * batches)
    simulate(config, start=_START, end=end, speed=None, publisher=publisher)
    return [
        Message(
            f"{number:017}",
            datetime.fromtimestamp(sent.due_us / 1e6, UTC),
            dict(sent.attributes),
            sent.data,
        )
        for number, sent in enumerate(publisher.messages)
    ]


def _config(encoding: Encoding, window_s: int, readings: int) -> SimulationConfig:
    return parse_config(
        {
            "fleet": {"feeders": 1, "poles": 1, "meters_per_pole": METERS_PER_POLE},
            "sample_hz": 1,
            "batch_interval_s": window_s,
            "batch_max_readings": readings,
            "network_profile": ["lte_m"],
            **_FORMS[encoding],
        }
    )


def pubsub_bytes(sent: Sequence[Message]) -> float:
    """Mean bytes of a message as Pub/Sub counts them.

    Source: https://cloud.google.com/pubsub/pricing (message volume).
    """
    return sum(
        len(message.data)
        + sum(
            len(name.encode()) + len(value.encode()) for name, value in message.attributes.items()
        )
        + _TIME_AND_ID_BYTES
        for message in sent
    ) / len(sent)


def archive_bytes(sent: Sequence[Message]) -> float:
    """Mean bytes that the archive's files (a minute each) keep of a message."""
    pieces = pieces_of(_validated(sent), minutes=1)
    return sum(len(piece.content) for piece in pieces) / len(sent)


def _validated(sent: Sequence[Message]) -> Validated:
    now = max(message.publish_time for message in sent) + timedelta(seconds=1)
    default = Settings.model_fields
    bounds = PayloadBounds(
        default["max_payload_bytes"].default, default["max_decoded_bytes"].default
    )
    return validate(decode(MessageBatch("measured", now, list(sent)), bounds))


def sizes(encoding: Encoding) -> Sizes:
    """Bytes of messages of an encoding."""
    counts = (10,) if encoding is Encoding.SINGLE else READINGS_PER_MESSAGE
    pubsub, archive = {}, {}
    for count in counts:
        sent = messages(encoding, count)
        per_message = 1 if encoding is Encoding.SINGLE else count
        pubsub[per_message] = round(pubsub_bytes(sent), 1)
        archive[per_message] = round(archive_bytes(sent), 1)
    return Sizes(pubsub, archive)


def rows_per_core(method: WriteMethod, *, repeats: int = 3) -> float:
    """Rows per CPU second that Python makes ready for BigQuery's writer: the best of `repeats`.

    Rows are made and encoded as Beam does it; what its Java transform or BigQuery's client do with
    them comes on top.
    """
    table = enrich(_validated(messages(Encoding.BATCH, 1000, batches=5))).rows
    make = _storage_rows() if method is WriteMethod.STORAGE_WRITE_API else _json_rows
    rates = []
    for _ in range(repeats):
        begun = time.process_time()
        make(table)
        rates.append(table.num_rows / (time.process_time() - begun))
    return round(max(rates), -2)


def _storage_rows() -> Callable[[pa.Table], None]:
    fields = json.dumps({"fields": json.loads(bigquery_schema(ROW_FIELDS))})
    schema: Any = get_dict_table_schema(parse_table_schema_from_json(fields))
    hints = get_beam_typehints_from_tableschema(schema, {"DATE": date})
    coder = coders.registry.get_coder(RowTypeConstraint.from_fields(hints))

    def make(table: pa.Table) -> None:
        for row in to_rows(table, beam_value):
            coder.encode(beam_row_from_dict(row, schema))

    return make


def _json_rows(table: pa.Table) -> None:
    coder = RowAsDictJsonCoder()
    for row in to_rows(table, json_value):
        coder.encode(row)


def ingest_per_core(results: Path = RESULTS) -> dict[Encoding, float]:
    """Readings per second and core of the ingest, of the benchmarks' figures.

    Raises:
        SettingsError: there are no such figures.
    """
    try:
        document = json.loads(results.read_bytes())
        cores = document["machine"]["cores"]
        found = document["results"]
        return {e: round(found[name]["value"] / cores) for e, name in _INGEST_RESULTS.items()}
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(
            f"{results} lacks figures of the ingest ({error!r}); "
            "measure them: python -m benchmarks --only 'ingest.*'"
        ) from error


def measure() -> Measured:
    """Everything anew; some seconds of CPU."""
    rows = {method: rows_per_core(method) for method in WriteMethod}
    return Measured(
        sizes={encoding: sizes(encoding) for encoding in Encoding},
        ingest_per_core=ingest_per_core(),
        rows_per_core=rows,
    )


def main() -> int:
    """Measure and replace the file; returns the exit status."""
    try:
        made = measure()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    head = b"# Written by `python -m ami_cli.cost_measure`; edits are overwritten.\n"
    write_bytes(MEASURED, head + msgspec.yaml.encode(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
