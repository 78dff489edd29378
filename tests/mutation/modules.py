"""Names what is mutated: the guarded modules, and what judges their mutants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class PythonModule:
    """Python files under mutation.

    Attributes:
        sources: patterns below the repository.
        tests: what pytest runs for each mutant, quickest first.
        preload: modules of others that the tests import, loaded once for all mutants.
    """

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    preload: tuple[str, ...]


@dataclass(frozen=True)
class SqlModule:
    """Models under mutation, with the macros that dbt has put into them.

    Attributes:
        models: their names.
        stage: function of stages.py that builds the warehouse and checks it.
    """

    models: tuple[str, ...]
    stage: str


MODULES: Final[dict[str, PythonModule | SqlModule]] = {
    "sag": SqlModule(
        models=(
            "int_meter_hour_anchors",
            "int_restless_readings",
            "int_meter_epochs",
            "int_seq_repeats",
            "int_seq_overlaps",
            "int_seq_conflicts",
            "int_meter_hour_borders",
            "int_low_readings",
            "int_low_probes",
            "int_low_probed",
            "int_low_neighbours",
            "int_low_runs",
            "voltage_events",
        ),
        stage="sag",
    ),
    "demand_response": SqlModule(
        models=(
            "int_pole_days",
            "int_event_slots",
            "int_dr_event_poles",
            "int_dr_slot_values",
            "int_dr_placebo_windows",
            "int_dr_placebo_hours",
            "dr_candidate_days",
            "dr_5min_baseline",
            "dr_event_performance",
            "dr_event_summary",
            "dr_event_totals",
            "dr_baseline_accuracy",
            "dr_window_performance",
            "dr_window_summary",
            "dr_window_totals",
            "dr_window",
        ),
        stage="demand_response",
    ),
    "decode": PythonModule(
        sources=("beam_jobs/decode*.py",),
        tests=(
            "tests/beam_jobs/test_decode_paths.py",
            "tests/beam_jobs/test_decode_validate.py",
            "tests/beam_jobs/test_compression.py",
        ),
        preload=(
            "apache_beam",
            "hypothesis",
            "msgspec",
            "numpy",
            "orjson",
            "pyarrow.compute",
            "pyarrow.json",
            "pytest",
        ),
    ),
    "ledger": PythonModule(
        sources=("ami_store/ledger.py",),
        tests=("tests/ami_store/test_ledger.py",),
        preload=("duckdb", "hypothesis", "numpy", "pyarrow.parquet", "pytest"),
    ),
}
