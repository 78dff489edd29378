"""Reads a seed and a length; gives what the gateways of a chaos run send, disturbed or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

START: Final = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
METERS: Final = 3
GATEWAYS: Final = {"pole-1": ("json", "5g"), "pole-2": ("arrow", "lte_m")}
"""Poles with the form of their payloads and their back-haul."""

SAG_EVERY_S: Final = 600


@dataclass(frozen=True)
class Story:
    """What is simulated.

    Attributes:
        seed: of the meters.
        window: of simulated time.
        speed: simulated seconds per second while faults are injected.
    """

    seed: int
    window: timedelta
    speed: float

    @property
    def sampled(self) -> int:
        """Readings that all meters take."""
        return round(self.window.total_seconds()) * METERS * len(GATEWAYS)

    def write_configs(self, folder: Path) -> dict[str, Path]:
        """One configuration of the simulator per pole.

        Nothing is damaged on the way: what is refused in a run is what a fault has sent.
        """
        found = {}
        for pole_id, (payload, profile) in GATEWAYS.items():
            path = folder / f"{pole_id}.yaml"
            config = {
                "pole_id": pole_id,
                "num_meters": METERS,
                "sample_hz": 1,
                "publish_mode": "batch",
                "payload": payload,
                "batch_interval_s": 10,
                "network_profile": profile,
                "drop_prob": 0.02,
                "duplicate_prob": 0.02,
                "reorder_prob": 0.05,
                "reorder_max_batches": 12,
                "force_sag_every_s": SAG_EVERY_S,
                # Nothing may run over: what a full spool drops is not the same in two runs.
                "spool_max_mb": 1000,
                "spool_max_s": 10 * 86_400,
                "seed": self.seed,
            }
            path.write_text(json.dumps(config))
            found[pole_id] = path
        return found

    def arguments(self, config: Path, truth: Path, speed: str) -> list[str]:
        """Of `ami simulate`."""
        end = START + self.window
        return [
            "simulate",
            *("--config", str(config)),
            *("--from", f"{START:%Y-%m-%dT%H:%M:%S}", "--to", f"{end:%Y-%m-%dT%H:%M:%S}"),
            *("--speed", speed),
            *("--truth", str(truth)),
        ]
