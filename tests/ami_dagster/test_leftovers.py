"""A dbt that lost its run is ended, whoever else builds is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ami_contract.lake import DataDir
from ami_dagster.leftovers import end_lost_dbt


@contextmanager
def working(script: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program named like dbt that builds."""
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, str(script), "build"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("name", "folder", "by_dagster", "is_ended"),
    [
        ("dbt", "data", True, True),
        ("dbt", "other", True, False),
        ("dbt", "data", False, False),
        ("some", "data", True, False),
    ],
)
def test_only_a_dbt_that_dagster_started_over_the_folder_is_ended(
    tmp_path: Path, name: str, folder: str, by_dagster: bool, is_ended: bool
) -> None:
    environment = {"AMI_DATA_DIR": str(tmp_path / folder)}
    if by_dagster:
        environment["DAGSTER_DBT_CLI"] = "true"
    with working(tmp_path / name, environment) as process:
        ended = end_lost_dbt(DataDir(tmp_path / "data"))
        assert ended == ([process.pid] if is_ended else [])
        assert (process.poll() is not None) == is_ended
