"""Reads the last reports of chaos, soak and the clean machine; renews `docs/reliability.md`.

python -m tests.reliability_page
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "reliability.md"
REPORTS: Final = ROOT / "benchmarks" / "reliability"
_EVERY_MINUTES: Final = 5


def rendered(page: str) -> str:
    """The page with the tables of the reports that lie in `REPORTS`."""
    tables = {"chaos": chaos_table, "soak": soak_table, "clean-machine": clean_machine_table}
    for name, table in tables.items():
        report = REPORTS / f"{name}.json"
        if report.exists():
            block = f"<!-- {name} -->\n{table(json.loads(report.read_bytes()))}\n<!-- /{name} -->"
            page = re.sub(
                f"<!-- {name} -->.*?<!-- /{name} -->", lambda _, b=block: b, page, flags=re.S
            )
    return page


def chaos_table(report: Mapping[str, Any]) -> str:
    """What was injected in the last run, and what was lost."""
    rows = "\n".join(f"| {name} | {number} |" for name, number in report["by_kind"].items())
    return (
        f"Last run, seed {report['seed']}, {report['duration_s']} s on a busy machine with two "
        f"cores: **{report['faults']} faults injected, {report['survived']} survived; of "
        f"{report['expected']} readings {report['lost']} lost, {report['duplicated']} duplicated "
        f"in marts**, {sum(report['differing'].values())} rows of marts different. "
        f"{report['copies']} further copies were stored and taken out, {report['letters']} "
        f"poisoned payloads dead-lettered, processes started again {report['restarts']} times.\n\n"
        f"| fault | injected and survived |\n|---|---|\n{rows}"
    )


def soak_table(report: Mapping[str, Any]) -> str:
    """Every fifth row of the last run, and its trends."""
    ended = report["readings"]
    killed = ", ".join(f"{number} × {name}" for name, number in report["kills"].items())
    shown = [row for row in report["rows"] if row["minute"] % _EVERY_MINUTES == 0]
    columns = {
        "minute": "minute",
        "readings": "readings",
        "latency_p50_s": "latency p50 [s]",
        "latency_p95_s": "p95 [s]",
        "unacked_messages": "unacked",
        "pubsub_mb": "Pub/Sub [MB]",
        "ingest_mb": "ingest [MB]",
        "gateway_mb": "gateways [MB]",
        "api_mb": "API [MB]",
        "code-server_mb": "code server [MB]",
        "daemon_mb": "daemon [MB]",
        "landing_files": "landed files",
        "archive_files": "archive files",
        "disk_mb": "disk [MB]",
    }
    table = [f"| {' | '.join(columns.values())} |", "|" + "---:|" * len(columns)]
    table += [f"| {' | '.join(_shown(row.get(name)) for name in columns)} |" for row in shown]
    trends = [
        "| figure | median | largest | rise per hour | limit | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    trends += [
        f"| {each['figure'].replace('_', ' ')} | {each['median']:.4g} | {each['largest']:.4g} | "
        f"{each['rise_per_hour']:.3g} | {each['limit_per_hour']:.3g} | "
        f"{'flat' if each['is_flat'] else '**rises**'} |"
        for each in report["trends"]
        if " per " not in each["figure"]
    ]
    growth = ["| figure | first half | second half | |", "|---|---:|---:|---|"]
    growth += [
        f"| {each['figure'].replace('_', ' ')} | {each['median']:.4g} | {each['largest']:.4g} | "
        f"{'flat' if each['is_flat'] else '**rises**'} |"
        for each in report["trends"]
        if " per " in each["figure"]
    ]
    return (
        f"Last run: {report['minutes']:g} minutes at {report['rate_per_s']} readings per second, "
        f"seed {report['seed']}, on a busy machine with two cores. Killed: {killed}. "
        f"**{ended['stored']} readings stored, {ended['lost']} lost, "
        f"{ended['duplicated_in_marts']} duplicated in marts**, {ended['copies_taken_out']} copies "
        f"taken out, {ended['voltage_events']} voltage events. "
        "<!-- from: benchmarks/reliability/soak.json -->\n\n"
        + "\n\n".join("\n".join(lines) for lines in (table, trends, growth))
    )


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) and value < 100 else f"{value:.0f}"


def clean_machine_table(report: Mapping[str, Any]) -> str:
    """What the two first commands took."""
    rows = {
        "packages installed, from a fast mirror": f"{report['installed_s']:.0f} s",
        "downloaded": f"{report['downloaded_mb']} MB",
        "`make demo` until Dagster, dashboard and API answer": f"{report['api_is_ready_s']:.0f} s",
        "its stop": f"{report['stopped_within_s']:.0f} s",
        "`make smoke`, two minutes of it in real time": f"{report['smoke_s']:.0f} s",
        "most memory of all processes": f"{report['demo_peak_memory_mb']} MB",
        "`.venv`": f"{report['venv_mb']} MB",
        "what installing leaves in caches": f"{report['caches_mb']} MB",
        "data of the demo and the smoke test": f"{report['data_mb']} MB",
    }
    lines = "\n".join(f"| {name} | {figure} |" for name, figure in rows.items())
    return (
        f"Last run, as `{report['user']}` with {report['memory_limit_gb']:.0f} GB of memory and "
        f"two cores: demo {report['demo']}, smoke test {report['smoke']}. "
        "<!-- from: benchmarks/reliability/clean-machine.json -->\n\n"
        f"| what | took |\n|---|---:|\n{lines}"
    )


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
