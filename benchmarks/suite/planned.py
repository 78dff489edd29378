"""Reads nothing; gives the figures that are promised with a target and not measured yet."""

from __future__ import annotations

from typing import Final

from benchmarks.definition import Benchmark, Metric, at_least, at_most

INGEST_TUTORIAL: Final = Benchmark(
    (
        Metric(
            "ingest.json.ratio_tutorial",
            "ratio",
            at_least(1000),
            "readings/s of the ingest over those of a graph with one message per reading on the "
            "streaming DirectRunner, as tutorials write it.",
        ),
    )
)

LANDING_LATENCY: Final = Benchmark(
    (
        Metric(
            "latency.landing.p95_s",
            "s",
            at_most(5),
            "from publishing a reading until a query of the landing finds it, 95th percentile at "
            "1 000 messages/s.",
        ),
    )
)

SAG: Final = Benchmark(
    (
        Metric(
            "sag.ratio_scan",
            "ratio",
            at_most(1.5),
            "time of sag detection over the time of a plain scan of its five columns with the "
            "same filter.",
        ),
        Metric(
            "sag.ratio_tutorial",
            "ratio",
            at_least(20),
            "time of gaps-and-islands over the full window, as tutorials write it, over the time "
            "of sag detection on the same lake.",
        ),
    )
)

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
