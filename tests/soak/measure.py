"""Reads a running platform; gives a row of figures about it: memory, files, bytes, latency."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from ami_contract.lake import DataDir
from ami_store.backlog import read_backlog
from ami_store.lake import hours
from tests.live_platform import PARTS

MB: Final = 1024 * 1024
GATEWAY: Final = "gateway"
RUNS: Final = "runs"
FOLDERS: Final = ("landing", "readings", "archive", "deadletter", "pubsub", "warehouse", "dagster")


def memory_mb(platform: int, gateway: int | None) -> dict[str, float]:
    """Proportional set size of every part [MB]; `runs` is what works on Dagster's runs now."""
    found = dict.fromkeys([*PARTS, GATEWAY, RUNS], 0.0)
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(platform).children(recursive=True):
            with suppress(psutil.Error):
                part = _part_of(process)
                found[part] += process.memory_full_info().pss / MB
    if gateway is not None:
        with suppress(psutil.Error):
            found[GATEWAY] += psutil.Process(gateway).memory_full_info().pss / MB
    return {f"{part}_mb": round(size, 1) for part, size in found.items()}


def _part_of(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    # The code server starts the processes of runs, whose command lines name it too.
    return next((part for part, mark in PARTS.items() if mark in line), RUNS)


def files_and_bytes(data: DataDir) -> dict[str, float]:
    """Number of files and their size [MB] of every folder, and of all together."""
    found: dict[str, float] = {}
    files = size = 0
    for folder in FOLDERS:
        count = total = 0
        for path in (data.root / folder).rglob("*"):
            with suppress(FileNotFoundError):
                state = path.stat()
                if path.is_file():
                    count, total = count + 1, total + state.st_size
        found[f"{folder}_files"] = count
        found[f"{folder}_mb_on_disk"] = round(total / MB, 2)
        files, size = files + count, size + total
    return found | {"files": files, "disk_mb": round(size / MB, 2)}


def latency_s(data: DataDir, since_s: float) -> dict[str, float | None]:
    """Time from a meter's reading to its file in the lake, of files landed since then [s]."""
    parts: list[np.ndarray] = []
    for path in data.landing.rglob("[!.]*.parquet"):
        with suppress(FileNotFoundError, OSError, pa.ArrowInvalid):
            landed_s = path.stat().st_mtime
            if landed_s >= since_s:
                column = pq.read_table(path, columns=["event_ts"])["event_ts"]
                micros = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
                parts.append(landed_s - micros / 1e6)
    if not parts:
        return {"landed": 0, "latency_p50_s": None, "latency_p95_s": None}
    found = np.concatenate(parts)
    p50, p95 = np.percentile(found, [50, 95])
    return {
        "landed": len(found),
        "latency_p50_s": round(float(p50), 2),
        "latency_p95_s": round(float(p95), 2),
    }


def backlog(data: DataDir, subscription: str) -> dict[str, float | None]:
    """Messages that nobody has acknowledged, as Pub/Sub told last."""
    known = read_backlog(data, subscription)
    return {"unacked_messages": None if known is None else known.messages}


def stored(data: DataDir) -> dict[str, float | None]:
    """Readings in the lake, copies included, and how old what people query is [s]."""
    rows = sum(hour.stored_rows for hour in hours(data))
    age: float | None = None
    with suppress(FileNotFoundError):
        age = round(time.time() - data.published_warehouse.stat().st_mtime, 1)
    return {"readings": rows, "published_age_s": age}


def row(
    data: DataDir, platform: int, gateway: int | None, subscription: str, since_s: float
) -> Mapping[str, float | None]:
    """All figures now."""
    return {
        **stored(data),
        **latency_s(data, since_s),
        **backlog(data, subscription),
        **memory_mb(platform, gateway),
        **files_and_bytes(data),
    }


def utc_now() -> str:
    """For people."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
