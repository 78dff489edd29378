"""Reads nothing; gives the figures that are promised with a target and not measured yet."""

from __future__ import annotations

from typing import Final

from benchmarks.definition import Benchmark, Metric, at_least, at_most

API: Final = Benchmark(
    (
        Metric(
            "api.summary.p95_ms",
            "ms",
            at_most(50),
            "answer time of a pole's summary over 30 days of 5-minute data at 300 requests/s "
            "(open loop), 95th percentile.",
        ),
        Metric(
            "api.summary.requests_per_s",
            "requests/s",
            at_least(300),
            "rate of such requests that is answered without a failure.",
        ),
    )
)
