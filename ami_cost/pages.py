"""Reads prices, measured sizes and models; writes the tables of docs/cost.md and docs/scaling.md.

Run as `python -m ami_cost.pages`; a test compares the pages with the code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ami_cost.limits import LIMITS_WITHOUT_METERS, limits
from ami_cost.measured import (
    Encoding,
    Measured,
    WriteMethod,
    load_measured,
    message_bytes,
    row_bytes,
)
from ami_cost.model import (
    LARGEST_STATEMENT_BYTES,
    SURVEY_METERS,
    SURVEY_READINGS,
    TICK_READING_BYTES,
    WORKER_CORES,
    Estimate,
    Scenario,
    estimate,
    workers_needed,
)
from ami_cost.prices import Prices, load_prices
from ami_cost.queueing import capacity_for, cases

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
FLEETS: Final = (100, 10_000, 1_000_000)
DECADES: Final = (10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000)
_SHOWN: Final = {
    Encoding.SINGLE: "single JSON",
    Encoding.BATCH: "batch JSON",
    Encoding.ARROW: "Arrow",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, numbers are aligned to the right."""
    body = list(rows)
    numeric = [
        bool(body) and all(row[i].lstrip("*")[:1].isdigit() for row in body)
        for i in range(len(head))
    ]
    rule = ["--:" if is_number else "---" for is_number in numeric]
    lines = [head, rule, *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def per_meter(prices: Prices, measured: Measured) -> str:
    """USD per meter and month of the fleets and encodings, by service."""
    rows = []
    for meters in FLEETS:
        for encoding in Encoding:
            bill = estimate(Scenario(meters=meters, encoding=encoding), prices, measured)
            parts = _parts(bill)
            dearest = max(parts, key=lambda name: parts[name])
            rows.append(
                [f"{meters:,}", _SHOWN[encoding]]
                + [f"{bill.per_meter_month(usd):.4f}" for usd in parts.values()]
                + [f"**{bill.per_meter_month(bill.usd):.2f}**", f"{bill.usd / bill.months:,.0f}"]
                + [f"{dearest} {parts[dearest] / bill.usd:.0%}"]
            )
    head = ["meters", "encoding", *_parts(bill), "all", "USD a month", "dominates"]
    return table(head, rows)


def _parts(bill: Estimate) -> dict[str, float]:
    """Cost by service, with BigQuery's queries apart (USD)."""
    parts: dict[str, float] = {}
    for line in bill.lines:
        name = line.service
        if name == "BigQuery":
            name = "queries" if line.item.startswith("queries") else "BigQuery"
        parts[name] = parts.get(name, 0.0) + line.usd
    return parts


def levers(prices: Prices, measured: Measured) -> str:
    """What changes the bill of 10 000 meters in Arrow batches, one setting at a time."""
    base = Scenario(meters=10_000, encoding=Encoding.ARROW)
    variants = {
        "as it is deployed": base,
        "no ticks: schedule `sags_every_5_minutes` off": replace(base, tick_minutes=0),
        "a tick every 15 minutes": replace(base, tick_minutes=15),
        "200 reserved slots, if they suffice": replace(base, slots=200),
        "BigQuery holds 90 days": replace(base, keep_days=90),
        "a reading a minute": replace(base, hz=1 / 60),
        "`archive_minutes = 5`": replace(base, archive_minutes=5),
        "`archive_nearline_days = 30`": replace(base, nearline_days=30),
        '`bq_write_method = "file_loads"`': replace(base, write_method=WriteMethod.FILE_LOADS),
        "gateways send `publish_mode: single`": replace(base, encoding=Encoding.SINGLE),
    }
    before = estimate(base, prices, measured).usd
    rows = []
    for name, scenario in variants.items():
        bill = estimate(scenario, prices, measured)
        change = f"{bill.usd / before - 1:+.1%}" if scenario is not base else ""
        rows.append([name, f"{bill.per_meter_month(bill.usd):.3f}", change])
    return table(["setting", "USD per meter and month", "change"], rows)


def price_list(prices: Prices, _: Measured) -> str:
    """Every unit price with source, day and how it was checked."""
    evidence = {
        "page": "Google's page",
        "transcription": "transcriptions",
        "none": "**not verified**",
    }
    rows = (
        [
            f"`{name}`",
            f"{price.usd:.10f}".rstrip("0").rstrip(".") + f" per {price.unit}",
            f"{price.free:,.6g}" if price.free else "",
            "" if price.evidence == "none" else f"{price.checked}",
            evidence[price.evidence],
            f"<{price.source}>",
        ]
        for name, price in prices.items()
    )
    return table(["price", "USD", "free a month", "read", "checked by", "source"], rows)


def measured_sizes(_: Prices, measured: Measured) -> str:
    """Bytes per reading and rates per core by encoding."""
    rows = []
    for encoding in Encoding:
        readings = Scenario(encoding=encoding).readings_per_message
        sizes = measured.sizes[encoding]
        rows.append(
            [_SHOWN[encoding], f"{readings:,.0f}"]
            + [
                f"{message_bytes(kind, readings) / readings:,.0f}"
                for kind in (sizes.pubsub, sizes.archive)
            ]
            + [f"{measured.ingest_per_core[encoding]:,.0f}"]
            + [
                f"{measured.dataflow_per_core(encoding, method):,.0f}"
                for method in (WriteMethod.STORAGE_WRITE_API, WriteMethod.FILE_LOADS)
            ]
        )
    head = [
        "encoding", "readings a message", "Pub/Sub B/reading", "archive B/reading",
        "ingest readings/s/core", "with storage_write_api", "with file_loads",
    ]  # fmt: skip
    return table(head, rows)


def decades(_: Prices, measured: Measured) -> str:
    """What fleets from 10 to 10 million meters at 1 Hz need, in Arrow batches."""
    rows = []
    for meters in DECADES:
        scenario = Scenario(meters=meters, encoding=Encoding.ARROW, archive_minutes=5)
        loads = replace(scenario, write_method=WriteMethod.FILE_LOADS)
        core = measured.dataflow_per_core(Encoding.ARROW, WriteMethod.STORAGE_WRITE_API)
        rate = scenario.readings_per_s
        again = capacity_for(rate, rate * 3600, 3600) / (core * WORKER_CORES)
        sent = message_bytes(measured.sizes[Encoding.ARROW].pubsub, scenario.readings_per_message)
        fleets = scenario.readings_per_day / SURVEY_READINGS
        rows.append(
            [
                f"{meters:,}",
                _scaled(sent / scenario.readings_per_message * rate, "B/s"),
                f"{workers_needed(scenario, measured):,}",
                f"{workers_needed(loads, measured):,}",
                f"{max(1, math.ceil(again)):,}",
                _scaled(rate * row_bytes(), "B/s"),
                _scaled(scenario.readings_per_day * row_bytes(), "B"),
                f"{scenario.poles * 288:,}",
                _scaled(TICK_READING_BYTES * fleets, "B"),
                _scaled(LARGEST_STATEMENT_BYTES * meters / SURVEY_METERS, "B"),
            ]
        )
    head = [
        "meters", "Pub/Sub", "workers", "with file_loads", "to catch up 1 h in 1 h",
        "into BigQuery", "raw rows a day", "archive files a day (5 min)",
        "a tick at a day's end", "its largest statement",
    ]  # fmt: skip
    return table(head, rows)


def _scaled(value: float, unit: str) -> str:
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:,.3g} {prefix}{unit}"
    return f"{value:,.3g} {unit}"


def narrowest(_: Prices, measured: Measured) -> str:
    """What ends at how many meters, the narrowest first."""
    rows = (
        [
            limit.name,
            limit.value,
            f"{_two_digits(limit.meters):,}",
            limit.knob,
            f"<{limit.source}>" if limit.source.startswith("https") else limit.source,
        ]
        for limit in limits(measured)
    )
    return table(["limit", "value", "meters at 1 Hz", "what moves it", "source"], rows)


def _two_digits(number: float) -> int:
    return int(float(f"{number:.2g}"))


def constant_limits(_: Prices, __: Measured) -> str:
    """Limits that stay away however large the fleet is."""
    rows = ([name, here, f"<{source}>"] for name, (here, source) in LIMITS_WITHOUT_METERS.items())
    return table(["limit", "and here", "source"], rows)


def simulated(_: Prices, measured: Measured) -> str:
    """Backlogs and bursts as simulated."""
    return table(
        ["what happens to 10,000 meters in Arrow batches", "what comes of it"], cases(measured)
    )


BLOCKS: Final[Mapping[str, Mapping[str, Callable[[Prices, Measured], str]]]] = {
    "cost.md": {
        "per meter": per_meter,
        "levers": levers,
        "sizes": measured_sizes,
        "prices": price_list,
    },
    "scaling.md": {
        "decades": decades,
        "narrowest": narrowest,
        "constant": constant_limits,
        "simulated": simulated,
    },
}


def rendered(name: str, page: str, prices: Prices, measured: Measured) -> str:
    """`page` with the blocks between its marks replaced by the code's."""
    for block, make in BLOCKS[name].items():
        begin, end = f"<!-- {block} -->\n", f"<!-- end of {block} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}{make(prices, measured)}{end}{after}"
    return page


def main() -> None:
    """Rewrite the pages."""
    prices, measured = load_prices(), load_measured()
    for name in BLOCKS:
        path = DOCS / name
        page = path.read_text(encoding="utf-8")
        path.write_text(rendered(name, page, prices, measured), encoding="utf-8")


if __name__ == "__main__":
    main()
