"""The results file: reads what was measured before, gives it with what was measured now."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ami_contract.errors import SettingsError
from ami_store.files import write_bytes
from benchmarks.definition import Benchmark
from benchmarks.runner import Outcome

Document = dict[str, Any]
"""Content of `results.json`; see `merged`."""


@dataclass(frozen=True)
class Origin:
    """Where and when figures were taken.

    Attributes:
        machine: as `surroundings.machine` gives it.
        versions: of Python and packages.
        commit: of the checkout.
        dirty: whether the checkout held changes.
        taken_at: ISO 8601, UTC; start of the measurements.
        load_1m: load average when they started.
        quick: whether they are of small inputs.
    """

    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str
    dirty: bool
    taken_at: str
    load_1m: float
    quick: bool


def load(path: Path) -> Document:
    """Document at `path`, empty when there is none.

    Raises:
        SettingsError: it is no results file.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({error}); remove it or mend it") from error
    if not isinstance(document, dict) or not isinstance(document.get("results"), dict):
        raise SettingsError(f"{path} is not a file of benchmark results; name another --output")
    return document


def merged(
    before: Document, outcome: Outcome, origin: Origin, benchmarks: Iterable[Benchmark]
) -> Document:
    """`before` with the figures of `outcome` in place of its own.

    The head tells of the last measurement; every figure carries its own commit and time, as it
    may be older. A figure whose benchmark failed now is taken out, and one that is no longer
    declared too.

    Args:
        before: from `load`.
        outcome: what was measured now.
        origin: of `outcome`.
        benchmarks: all that are declared.
    """
    stamp = {
        "quick": origin.quick,
        "commit": origin.commit,
        "dirty": origin.dirty,
        "taken_at": origin.taken_at,
    }
    results = dict(before.get("results", {}))
    results |= {name: asdict(summary) | stamp for name, summary in outcome.results.items()}
    failures = dict(before.get("failures", {})) | outcome.failures
    declared = {metric.id: metric for benchmark in benchmarks for metric in benchmark.metrics}
    head = asdict(origin)
    del head["quick"]
    return head | {
        "results": {
            name: results[name]
            for name in declared
            if name in results and name not in outcome.failures
        },
        "failures": {
            name: failures[name]
            for name in declared
            if name in failures and name not in outcome.results
        },
        "not_measured": {
            name: {
                "unit": metric.unit,
                "target": metric.target.value if metric.target else None,
                "direction": metric.target.direction.value if metric.target else None,
            }
            for name, metric in declared.items()
            if name not in results and name not in failures
        },
    }


def save(path: Path, document: Document) -> None:
    """Replace `path` atomically; raises LakeError."""
    write_bytes(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
