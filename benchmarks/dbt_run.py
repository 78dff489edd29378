"""Runs the project's dbt over a lake; gives its warehouse, and artifacts in the lake's `target`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from ami_contract.lake import DataDir
from benchmarks.definition import BenchmarkError

PROJECT: Final = Path(__file__).resolve().parents[1] / "dbt_ami"
_LONGEST_S: Final = 1800


def run_dbt(data: DataDir, *arguments: str) -> None:
    """Run dbt with the `arguments` over `data`, without the caller's `AMI_` variables.

    Raises:
        BenchmarkError: it failed; with its last lines.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AMI_")}
    command = [
        str(Path(sys.executable).with_name("dbt")), *arguments,
        "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT),
        "--target-path", str(data.root / "target"), "--log-path", str(data.root / "logs"),
        "--no-use-colors",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env=kept | {"AMI_DATA_DIR": str(data.root)},
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"dbt {arguments[0]} failed: {done.stdout[-800:]}")
