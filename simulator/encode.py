"""Reads samples of a pole; gives payload bytes: JSON array or object, NDJSON, Arrow IPC + zstd.

Values were rounded when they were made, so every form holds equal numbers.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from ami_contract.reading import WIRE_SCHEMA, ContentType
from simulator.backhaul import Damage, Fault
from simulator.fleet import Pole
from simulator.meters import FLAG_NAMES, Samples, arrow_batch

CONTENT_TYPE_OF_PAYLOAD: Final = {
    "json": ContentType.JSON,
    "ndjson": ContentType.NDJSON,
    "arrow": ContentType.ARROW,
}
IMPOSSIBLE_VOLTAGE_V: Final = 5000.0
"""Stands in damaged readings; out of the contract's range."""

_IPC_OPTIONS: Final = pa.ipc.IpcWriteOptions(
    compression=pa.Codec("zstd", compression_level=1), use_threads=False
)
PAYLOAD_SCHEMA: Final = pa.schema([field.remove_metadata() for field in WIRE_SCHEMA])
"""The wire schema without units and descriptions, which would ride in every message."""


def event_times(samples: Samples) -> list[str]:
    """`event_ts` as RFC 3339 with milliseconds and Z."""
    times, where = np.unique(samples.event_ms, return_inverse=True)
    texts = [text + "Z" for text in np.datetime_as_string(times.astype("M8[ms]")).tolist()]
    return [texts[i] for i in where.tolist()]


def rows(samples: Samples, pole: Pole) -> list[dict[str, Any]]:
    """`samples` as JSON objects; `quality_flags` stands only where there are any."""
    ids = [m.meter_id for m in pole.meters]
    pole_id = pole.pole_id
    made = [
        {
            "event_ts": event_ts,
            "meter_id": ids[meter],
            "pole_id": pole_id,
            "seq": seq,
            "voltage_v": voltage_v,
            "current_a": current_a,
            "power_kw": power_kw,
            "reactive_kvar": reactive_kvar,
            "freq_hz": freq_hz,
        }
        for event_ts, meter, seq, voltage_v, current_a, power_kw, reactive_kvar, freq_hz in zip(
            event_times(samples),
            samples.meter.tolist(),
            samples.seq.tolist(),
            samples.voltage_v.tolist(),
            samples.current_a.tolist(),
            samples.power_kw.tolist(),
            samples.reactive_kvar.tolist(),
            samples.freq_hz.tolist(),
            strict=True,
        )
    ]
    for index in np.flatnonzero(samples.flag).tolist():
        made[index]["quality_flags"] = list(FLAG_NAMES[samples.flag[index]])
    return made


def damage_row(row: dict[str, Any], damage: Damage) -> None:
    """Spoil one JSON object in place, in a way that leaves its neighbours readable."""
    if damage == Damage.NULL_FIELD:
        row["voltage_v"] = None
    elif damage == Damage.BOOLEAN_AS_NUMBER:
        row["power_kw"] = True
    elif damage == Damage.NUMERIC_STRING:
        row["current_a"] = str(row["current_a"])
    elif damage == Damage.FRACTIONAL_SEQ:
        row["seq"] = row["seq"] + 0.5
    elif damage == Damage.OUT_OF_RANGE:
        row["voltage_v"] = IMPOSSIBLE_VOLTAGE_V
    elif damage == Damage.MISSING_FIELD:
        del row["voltage_v"]
    elif damage == Damage.TIME_WITHOUT_ZONE:
        row["event_ts"] = row["event_ts"].removesuffix("Z")


def damage_text(text: bytes, voltage_v: float, damage: Damage) -> bytes:
    """Spoil the text of one JSON object as a whole."""
    if damage == Damage.TRUNCATED:
        return text[: len(text) * 2 // 3]
    number = orjson.dumps(voltage_v)
    return text.replace(b'"voltage_v":' + number, b'"voltage_v":NaN')


def encode(samples: Samples, pole: Pole, payload: str) -> bytes:
    """Payload of one message that holds `samples`, malformed readings damaged within.

    Args:
        samples: at least one; none may need a message of its own.
        pole: whose meters they are.
        payload: `json` (array), `ndjson` or `arrow`.
    """
    if payload == "arrow":
        return encode_arrow(samples, pole)
    made = rows(samples, pole)
    for index in np.flatnonzero(samples.fault == Fault.MALFORMED).tolist():
        damage_row(made[index], Damage(samples.detail[index]))
    if payload == "ndjson":
        return b"\n".join(map(orjson.dumps, made))
    return orjson.dumps(made)


def encode_single(samples: Samples, pole: Pole) -> list[bytes]:
    """One JSON object for each of `samples`, malformed ones damaged."""
    made = rows(samples, pole)
    damages = {
        int(i): Damage(samples.detail[i]) for i in np.flatnonzero(samples.fault == Fault.MALFORMED)
    }
    for index, damage in damages.items():
        damage_row(made[index], damage)
    texts = [orjson.dumps(row) for row in made]
    for index, damage in damages.items():
        if damage in (Damage.TRUNCATED, Damage.NOT_A_NUMBER):
            texts[index] = damage_text(texts[index], float(samples.voltage_v[index]), damage)
    return texts


def encode_arrow(samples: Samples, pole: Pole) -> bytes:
    """Arrow IPC stream with zstd; a malformed reading shows an impossible voltage."""
    batch = arrow_batch(samples, pole)
    bad = samples.fault == Fault.MALFORMED
    if bad.any():
        voltage_v = np.where(bad, IMPOSSIBLE_VOLTAGE_V, samples.voltage_v)
        index = WIRE_SCHEMA.get_field_index("voltage_v")
        batch = batch.set_column(index, WIRE_SCHEMA.field(index), pa.array(voltage_v))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, PAYLOAD_SCHEMA, options=_IPC_OPTIONS) as writer:
        writer.write_batch(batch.replace_schema_metadata(None))
    return sink.getvalue().to_pybytes()


def decode_arrow(payload: bytes) -> pa.Table:
    """Table of an Arrow IPC stream made by `encode_arrow`."""
    return pa.ipc.open_stream(payload).read_all()
