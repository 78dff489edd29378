"""Reads the clocks and this process's memory; gives what an action took, as one line of JSON.

Of the standard library alone, so that peers can be measured in environments of their own.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

_STATUS: Final = Path("/proc/self/status")


def peak_bytes() -> int:
    """Peak resident memory of this process (bytes).

    Not of `getrusage`, whose peak survives exec: it would be that of the process that started this.
    """
    [line] = [text for text in _STATUS.read_text().splitlines() if text.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def cost_of(
    action: Callable[[], Any], repeats: int, *, before_each: Callable[[], Any] | None = None
) -> dict[str, float]:
    """Least wall and CPU time (s) of some repeats, and this process's peak memory (bytes).

    Args:
        action: what is measured.
        repeats: how often.
        before_each: makes the state that `action` starts from; not measured.
    """
    walls_s, cpus_s = [], []
    for _ in range(repeats):
        if before_each:
            before_each()
        gc.collect()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        action()
        walls_s.append(time.perf_counter() - wall_s)
        cpus_s.append(time.process_time() - cpu_s)
    return {"wall_s": min(walls_s), "cpu_s": min(cpus_s), "memory_bytes": peak_bytes()}


def tell(cost: dict[str, float]) -> None:
    """Print `cost` as the line that `benchmarks.processes` reads."""
    print(json.dumps(cost), flush=True)


def tell_of_one(engines: Mapping[str, Callable[[str, str], None]]) -> None:
    """Print the cost of the engine that the command line `ENGINE FILES_GLOB TARGET REPEATS` names.

    Args:
        engines: by name; each reads the files and writes the target.
    """
    engine, files, target, repeats = sys.argv[1:]
    tell(cost_of(partial(engines[engine], files, target), int(repeats)))
