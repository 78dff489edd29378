"""Runs simulations at their own pace against a Pub/Sub server; prints what they held, as JSON.

Started by `test_rates` as a process of its own, so that its memory is the gateways' alone.
Arguments: endpoint, folder for the spools, seconds, then one config per run as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from simulator.config import parse_config
from simulator.forward import StoreAndForward
from simulator.publisher import PubSubPublisher
from simulator.run import Progress, Summary, simulate
from simulator.spool import Spool

SETTLING_S = 10.0
SETTLING_SHARE = 0.25


def hold(endpoint: str, spool: Path, seconds: float, raw: dict[str, Any]) -> dict[str, float]:
    """One run; its rate is the slope of the messages taken, after some settling, until its end.

    Messages come in bursts, once a sample or batch; a regression does not mind where it begins.
    """
    config = parse_config(raw)
    pubsub = PubSubPublisher("ami-test", "readings", endpoint)
    forward = StoreAndForward(pubsub, Spool(spool))
    begun_s = time.monotonic()
    settling_s = min(SETTLING_S, SETTLING_SHARE * seconds)
    seen: list[tuple[float, int, float]] = []

    def watch(progress: Progress) -> None:
        now_s = time.monotonic() - begun_s
        if settling_s <= now_s <= seconds:
            seen.append((now_s, forward.counters().messages, progress.lag_s))

    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    summary: Summary = simulate(
        config,
        start=start,
        end=start + timedelta(seconds=seconds),
        speed=1.0,
        publisher=forward,
        progress=watch,
    )
    forward.close()
    pubsub.close()
    times_s, messages, lags_s = zip(*seen, strict=True)
    return {
        "messages_per_s": float(np.polyfit(times_s, messages, 1)[0]),
        "generated": summary.generated,
        "published": summary.published,
        "messages": summary.messages,
        "longest_lag_s": max(lags_s),
    }


def peak_mb() -> float:
    """Largest resident size of this program in MB.

    `ru_maxrss` would count the process that started it too: it survives exec.
    """
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1000
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    """Run all configs side by side."""
    endpoint, folder, seconds, *texts = sys.argv[1:]
    found: list[dict[str, float]] = [{}] * len(texts)

    def one(index: int) -> None:
        found[index] = hold(
            endpoint, Path(folder) / str(index), float(seconds), json.loads(texts[index])
        )

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(texts))]
    cpu_s = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = {
        "runs": found,
        "peak_mb": peak_mb(),
        "cores": (time.process_time() - cpu_s) / float(seconds),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
