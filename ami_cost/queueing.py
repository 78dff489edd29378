"""Reads rates, bursts and outages; gives backlogs, drain times and waits, step by step.

Two simulators check the arithmetic of the scale plan. `flow` moves readings second by second
through one capacity: outages and late data. `fifo_waits` moves single messages through servers:
bursts. Both are deterministic. `python -m ami_cost.queueing` prints the cases of docs/scaling.md.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ami_cost.measured import Encoding, Measured, WriteMethod, load_measured
from ami_cost.model import WORKER_CORES

Floats = npt.NDArray[np.float64]
HOUR_S = 3600


@dataclass(frozen=True)
class Drain:
    """What became of a backlog.

    Attributes:
        peak: most readings that waited.
        drained_after_s: from the moment the readers work again until nothing waits (s); infinite
            if the simulated time ends before.
        longest_wait_s: of any reading that was read (s).
    """

    peak: float
    drained_after_s: float
    longest_wait_s: float


def flow(arrivals: Floats, capacity: Floats, start: float = 0.0) -> Floats:
    """Readings that wait at the end of each second.

    Args:
        arrivals: readings that come in each second.
        capacity: readings that can be read in each second.
        start: readings that wait before the first.
    """
    waiting = np.empty(len(arrivals))
    backlog = start
    for second, (came, able) in enumerate(zip(arrivals, capacity, strict=True)):
        backlog = max(0.0, backlog + came - able)
        waiting[second] = backlog
    return waiting


def longest_wait_s(arrivals: Floats, waiting: Floats) -> float:
    """Longest time between a reading's arrival and its reading, first come, first served (s)."""
    came = np.cumsum(arrivals)
    read = came - waiting
    # A cumulative count reaches a number in the second in which that reading moved.
    numbers = np.arange(0.0, read[-1], max(1.0, read[-1] / 5000))
    waits = np.searchsorted(read, numbers, side="right") - np.searchsorted(
        came, numbers, side="right"
    )
    return float(waits.max(initial=0))


def outage(
    rate: float, capacity: float, outage_s: int, *, surge_s: int = 0, limit_s: int = 7 * 86_400
) -> Drain:
    """An outage of the readers, or of gateways that send again all at once.

    Args:
        rate: readings per second in normal times.
        capacity: readings per second that the readers can take, more than `rate`.
        outage_s: how long nothing is read (s).
        surge_s: instead, of so many seconds' readings a gateway's spool comes back at the end of
            the outage while reading goes on (s); 0: the readers were away.
        limit_s: longest time that is simulated after the outage (s).
    """
    owed_s = surge_s or outage_s
    # Only as long as it takes: a drain never lasts longer than the backlog at the spare capacity.
    spare = capacity - rate
    after_s = limit_s if spare <= 0 else min(limit_s, int(owed_s * rate / spare) + 2)
    seconds = outage_s + after_s
    arrivals = np.full(seconds, rate)
    able = np.full(seconds, capacity)
    if surge_s:
        arrivals[outage_s] += rate * surge_s
    else:
        able[:outage_s] = 0.0
    waiting = flow(arrivals, able)
    left = np.flatnonzero(waiting[outage_s:] <= rate * 1e-9)
    drained = float(left[0] + 1) if len(left) else float("inf")
    return Drain(float(waiting.max()), drained, longest_wait_s(arrivals, waiting))


def fifo_waits(arrivals_s: Sequence[float], service_s: float, servers: int) -> list[float]:
    """Seconds from arrival to the end of service of each message, first come, first served.

    Args:
        arrivals_s: when messages come, in rising order (s).
        service_s: how long a server works on one (s).
        servers: how many work side by side.
    """
    free_at = [0.0] * servers
    times = []
    for arrival_s in arrivals_s:
        begun_s = max(arrival_s, heapq.heappop(free_at))
        heapq.heappush(free_at, begun_s + service_s)
        times.append(begun_s + service_s - arrival_s)
    return times


def burst_waits(
    gateways: int, window_s: float, windows: int, service_s: float, servers: int, *, aligned: bool
) -> tuple[float, float]:
    """Mean and longest time of messages, one of each gateway a window (s).

    Args:
        gateways: that send.
        window_s: seconds between two messages of one gateway.
        windows: how many are simulated.
        service_s: how long a core works on a message (s).
        servers: cores.
        aligned: all send at the same moment; else each at a moment of its own, evenly spread.
    """
    phases = [0.0 if aligned else number * window_s / gateways for number in range(gateways)]
    arrivals = [window * window_s + phase for window in range(windows) for phase in phases]
    waits = fifo_waits(arrivals, service_s, servers)
    return sum(waits) / len(waits), max(waits)


def cases(measured: Measured) -> list[tuple[str, str]]:
    """What is simulated and its outcome, in words: 10 000 meters at 1 Hz in Arrow batches."""
    rate = 10_000.0
    core = measured.dataflow_per_core(Encoding.ARROW, WriteMethod.STORAGE_WRITE_API)
    rows = []
    for workers in (2, 3):
        capacity = workers * WORKER_CORES * core
        for hours in (1, 6):
            found = outage(rate, capacity, hours * HOUR_S)
            machines = f"{workers} workers ({capacity:,.0f} readings/s)"
            oldest = f"; the oldest waited {found.longest_wait_s / 60:,.0f} min"
            rows.append((f"nothing is read for {hours} h, then {machines}", _told(found) + oldest))
    found = outage(rate, 2 * WORKER_CORES * core, 10, surge_s=HOUR_S)
    spools = "all gateways were cut off for 1 h and send their spools at once, 2 workers"
    rows.append((spools, _told(found)))
    for aligned, how in ((True, "all at the same moment"), (False, "evenly spread")):
        mean, longest = burst_waits(1000, 30, 4, 300 / core, 4, aligned=aligned)
        case = f"1,000 gateways send 300 readings every 30 s, {how}, 4 cores"
        rows.append((case, f"a message takes {mean:,.2f} s, at most {longest:,.2f} s"))
    return rows


def _told(found: Drain) -> str:
    minutes = found.drained_after_s / 60
    return f"{found.peak / 1e6:,.0f} M readings wait; drained after {minutes:,.0f} min"


def capacity_for(rate: float, backlog: float, drain_s: float) -> float:
    """Readings per second that drain a backlog within `drain_s` while `rate` goes on."""
    return rate + backlog / drain_s


def main() -> None:
    """Print the cases."""
    for case, outcome in cases(load_measured()):
        print(f"{case}: {outcome}")


if __name__ == "__main__":
    main()
