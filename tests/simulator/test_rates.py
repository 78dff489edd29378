"""A gateway keeps its rate whatever the latency of its backhaul, within bounded memory.

Tolerance: 1 % of the nominal rate over two minutes, after 10 s of settling; `make test` holds the
same for a few seconds only and allows for the messages of one progress interval.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local_pubsub.server import PubSubServer

PROBE = Path(__file__).parent / "rate_probe.py"
PROFILES = ["wired", "5g", "lte_m", "sat"]
MOST_MB = 500


def probe(folder: Path, seconds: float, *configs: dict[str, Any]) -> dict[str, Any]:
    with PubSubServer(folder / "pubsub", port=0) as server:
        done = subprocess.run(
            [
                sys.executable,
                str(PROBE),
                server.endpoint,
                str(folder / "spool"),
                str(seconds),
                *map(json.dumps, configs),
            ],
            capture_output=True,
            text=True,
            timeout=seconds + 100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print(json.dumps(found))
    return found


def single(rate: int, profile: str) -> dict[str, Any]:
    return {
        "pole_id": "p",
        "num_meters": rate,
        "publish_mode": "single",
        "network_profile": profile,
    }


def check(found: dict[str, Any], rates: list[float], seconds: float, tolerance: float) -> None:
    for run, rate in zip(found["runs"], rates, strict=True):
        assert run["messages_per_s"] == pytest.approx(rate, rel=tolerance)
        assert run["messages"] == rate * seconds
        assert run["published"] == run["generated"]
    assert found["peak_mb"] < MOST_MB


def test_a_satellite_gateway_keeps_its_rate(tmp_path: Path) -> None:
    check(probe(tmp_path, 8, single(100, "sat")), [100], 8, 0.1)


@pytest.mark.slow
def test_10_and_100_messages_per_second_are_held_on_every_profile(tmp_path: Path) -> None:
    rates = [rate for rate in (10, 100) for _ in PROFILES]
    configs = [single(rate, profile) for rate in (10, 100) for profile in PROFILES]
    check(probe(tmp_path, 130, *configs), rates, 130, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_1000_messages_per_second_are_held(tmp_path: Path, profile: str) -> None:
    check(probe(tmp_path, 130, single(1000, profile)), [1000], 130, 0.01)


@pytest.mark.slow
def test_10_000_meters_in_batches_are_held_over_all_profiles(tmp_path: Path) -> None:
    config = {
        "fleet": {"poles": 100, "meters_per_pole": 100},
        "batch_interval_s": 5,
        "network_profile": PROFILES,
    }
    found = probe(tmp_path, 130, config)
    [run] = found["runs"]
    assert run["generated"] == run["published"] == 10_000 * 130
    # 100 poles, one message of 500 readings each every 5 s
    check(found, [20], 130, 0.01)
