"""Runs the project's dbt over a lake; gives its warehouse, and artifacts in the lake's `target`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from ami_contract.lake import DataDir
from benchmarks.processes import clean_environment, output_of

PROJECT: Final = Path(__file__).resolve().parents[1] / "dbt_ami"


def run_dbt(data: DataDir, *arguments: str) -> None:
    """Run dbt with the `arguments` over `data`, without the caller's `AMI_` variables.

    Raises:
        BenchmarkError: it failed; with its last lines.
    """
    command = [
        str(Path(sys.executable).with_name("dbt")), *arguments,
        "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT),
        "--target-path", str(data.root / "target"), "--log-path", str(data.root / "logs"),
        "--no-use-colors",
    ]  # fmt: skip
    output_of(command, clean_environment(AMI_DATA_DIR=str(data.root)))
