"""Reads a random generator; gives messages of which nothing can be stored."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import pyarrow as pa

from ami_contract.reading import ContentType

_BOMB_BYTES: Final = 80 * 1024 * 1024
_DEEP: Final = 50_000


@dataclass(frozen=True)
class Poison:
    """A message.

    Attributes:
        data: payload.
        attributes: what it claims to be.
    """

    data: bytes
    attributes: dict[str, str]


def poisons(rng: random.Random, name: str) -> list[Poison]:
    """One message of every kind, `name` and a number in each one's `batch_id`, in random order."""
    made = [kind(rng) for kind in _KINDS]
    rng.shuffle(made)
    return [
        Poison(each.data, each.attributes | {"batch_id": f"{name}-{number}", "gateway_id": "evil"})
        for number, each in enumerate(made)
    ]


def _reading(**changes: Any) -> dict[str, Any]:
    good = {
        "event_ts": "2026-03-01T07:00:00Z",
        "meter_id": "nobody",
        "pole_id": "pole-1",
        "seq": 1,
        "voltage_v": 240.0,
        "current_a": 5.0,
        "power_kw": 1.2,
    }
    return good | changes


def _json(*readings: dict[str, Any]) -> Poison:
    return Poison(json.dumps(readings).encode(), {"content_type": ContentType.JSON.value})


def _garbage(rng: random.Random) -> Poison:
    kind = rng.choice(list(ContentType))
    return Poison(b"\xff" + rng.randbytes(rng.randint(1, 5000)), {"content_type": kind.value})


def _cut_off(rng: random.Random) -> Poison:
    whole = _json(*[_reading(seq=number) for number in range(20)])
    return Poison(whole.data[: rng.randint(1, len(whole.data) - 1)], whole.attributes)


def _deep(rng: random.Random) -> Poison:
    opening = rng.choice(["[", '{"readings":'])
    return Poison((opening * _DEEP).encode(), {"content_type": ContentType.JSON.value})


def _escaping(rng: random.Random) -> Poison:
    way = rng.choice(
        ["../../../../etc/cron.d/x", "../x", "a/b", "/etc/passwd", "pole\u0000", "." * 200]
    )
    return _json(_reading(**{rng.choice(["meter_id", "pole_id"]): way}))


def _injecting(rng: random.Random) -> Poison:
    text = rng.choice(["x'; DROP TABLE readings; --", 'x" OR 1=1', "{{ env_var('HOME') }}", "%s"])
    return _json(_reading(meter_id=text, pole_id=text))


def _absurd(rng: random.Random) -> Poison:
    name, value = rng.choice(
        [
            ("voltage_v", 1e9),
            ("seq", -1),
            ("seq", 1.5),
            ("seq", 2**70),
            ("event_ts", "1970-01-01T00:00:00Z"),
            ("event_ts", "9999-12-31T23:59:59Z"),
            ("power_kw", None),
            ("current_a", "five"),
        ]
    )
    return _json(_reading(**{name: value}))


def _bomb(_rng: random.Random) -> Poison:
    attributes = {"content_type": ContentType.JSON.value, "content_encoding": "gzip"}
    return Poison(_zipped_blanks(), attributes)


@cache
def _zipped_blanks() -> bytes:
    return gzip.compress(b"[" + b" " * _BOMB_BYTES + b"]")


def _arrow_bomb(_rng: random.Random) -> Poison:
    return Poison(_packed_name(), {"content_type": ContentType.ARROW.value})


@cache
def _packed_name() -> bytes:
    schema = pa.schema([("meter_id", pa.string())])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write(pa.record_batch([pa.array(["m" * _BOMB_BYTES])], schema))
    return bytes(sink.getvalue().to_pybytes())


def _torn_arrow(rng: random.Random) -> Poison:
    table = pa.table({"meter_id": ["m1"] * 50, "seq": list(range(50))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    whole = bytearray(sink.getvalue().to_pybytes())
    for _ in range(20):
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    kept = bytes(whole[: rng.randint(8, len(whole) - 16)])
    return Poison(kept, {"content_type": ContentType.ARROW.value})


def _mislabelled(rng: random.Random) -> Poison:
    kind = rng.choice(
        ["text/csv", "", "application/x-protobuf", "APPLICATION/JSON; x=" + "y" * 500]
    )
    return Poison(_json(_reading()).data, {"content_type": kind})


_KINDS: Final[tuple[Callable[[random.Random], Poison], ...]] = (
    _garbage,
    _cut_off,
    _deep,
    _escaping,
    _injecting,
    _absurd,
    _bomb,
    _arrow_bomb,
    _torn_arrow,
    _mislabelled,
)
