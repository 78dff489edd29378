"""Runs of a few lines for the tests of this folder."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from simulator.config import SimulationConfig, parse_config
from simulator.publisher import CollectingPublisher, StdoutPublisher, reading_lines
from simulator.run import Summary, simulate

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

FAULTY = {
    "seed": 3,
    "fleet": {"feeders": 2, "poles": 3, "meters_per_pole": 4},
    "drop_prob": 0.02,
    "duplicate_prob": 0.03,
    "reorder_prob": 0.04,
    "bad_payload_prob": 0.01,
    "voltage_sag_prob": 0.5,
    "force_sag_every_s": 120,
    "network_profile": ["wired", "sat", "lte_m"],
}


def run(
    raw: dict[str, Any] | SimulationConfig,
    minutes: float,
    *,
    start: datetime = START,
    truth_dir: Path | None = None,
    **options: Any,
) -> tuple[Summary, CollectingPublisher]:
    """Simulate some minutes at full speed and collect the messages."""
    config = raw if isinstance(raw, SimulationConfig) else parse_config(raw)
    publisher = CollectingPublisher()
    summary = simulate(
        config,
        start=start,
        end=start + timedelta(minutes=minutes),
        speed=options.pop("speed", None),
        publisher=publisher,
        truth_dir=truth_dir,
        **options,
    )
    return summary, publisher


def readings(publisher: CollectingPublisher) -> list[dict[str, Any]]:
    """Every reading that can be decoded, in the order of publication."""
    found = []
    for message in publisher.messages:
        for line in reading_lines(message):
            try:
                found.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                continue
    return found


def stdout_bytes(raw: dict[str, Any], minutes: float, **options: Any) -> bytes:
    """What a run writes to standard output."""
    stream = io.BytesIO()
    simulate(
        parse_config(raw),
        start=START,
        end=START + timedelta(minutes=minutes),
        speed=options.pop("speed", None),
        publisher=StdoutPublisher(stream),
        **options,
    )
    return stream.getvalue()


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    """Rows of a truth file."""
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class FakeTime:
    """A clock that only its own sleep moves on."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def clock(self) -> float:
        """Time (s since 1970)."""
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        """Pass `duration_s` seconds."""
        self.now_s += duration_s
