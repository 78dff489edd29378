"""A materialization and a data test of the project, in a dbt project of two models."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from ami_contract.lake import DataDir

from .conftest import ROOT, run_dbt

PROJECT = """\
name: alone
version: "0.1.0"
profile: alone
flags: {send_anonymous_usage_stats: false}
"""
PROFILE = """\
alone:
  target: duckdb
  outputs:
    duckdb: {type: duckdb, path: "WAREHOUSE", threads: 1}
"""
NUMBER = "{{ config(materialized='KIND') }} select NUMBER as number"
# Fails when its rows are asked for, as a cast of a bad value does.
FAILING = """\
{{ config(materialized='table') }}
select cast(word as integer) as number
from (values ('1'), ('one')) as words (word)
"""
SPANS = """\
{{ config(materialized='view') }}
select unit, begun, ended
from (
    values
        ('closed, then open', 1, 5), ('closed, then open', 5, null),
        ('open, then newer', 1, null), ('open, then newer', 5, 9),
        ('meeting', 1, 6), ('meeting', 5, 9),
        ('two open', 1, null), ('two open', 5, null),
        ('alone', 1, null)
) as spans (unit, begun, ended)
"""
TESTED = """\
models:
  - name: spans
    data_tests:
      - never_overlaps:
          arguments: {unit: unit, from_column: begun, to_column: ended}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A dbt project with the materialization and the data test, and nothing else."""
    for folder, name in (("macros", "table_in_place.sql"), ("tests/generic", "never_overlaps.sql")):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(ROOT / "dbt_ami" / folder / name, tmp_path / folder)
    (tmp_path / "models").mkdir()
    (tmp_path / "dbt_project.yml").write_text(PROJECT)
    profile = PROFILE.replace("WAREHOUSE", str(tmp_path / "warehouse.duckdb"))
    (tmp_path / "profiles.yml").write_text(profile)
    return tmp_path


def test_a_failing_model_leaves_what_was_there_readable(project: Path) -> None:
    model = project / "models" / "numbers.sql"
    data = DataDir(project / "data")

    def after_run(sql: str) -> tuple[bool, str, int]:
        """Whether it succeeds, and afterwards kind and content of what people read."""
        model.write_text(sql)
        succeeded = run_dbt(data, "run", project=project).returncode == 0
        with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as con:
            [(kind,)] = con.execute("select table_type from information_schema.tables").fetchall()
            [(number,)] = con.execute("select number from numbers").fetchall()
        return succeeded, kind, number

    a_view = NUMBER.replace("KIND", "view").replace("NUMBER", "1")
    a_table = NUMBER.replace("KIND", "table").replace("NUMBER", "2")
    assert after_run(a_view) == (True, "VIEW", 1)
    assert after_run(FAILING) == (False, "VIEW", 1)
    assert after_run(a_table) == (True, "BASE TABLE", 2)
    assert after_run(FAILING) == (False, "BASE TABLE", 2)


def test_a_span_without_an_end_overlaps_all_that_follow(project: Path) -> None:
    (project / "models" / "spans.sql").write_text(SPANS)
    (project / "models" / "tested.yml").write_text(TESTED)
    data = DataDir(project / "data")

    done = run_dbt(data, "build", project=project)

    assert done.returncode == 1, done.stdout
    [judged] = (data.root / "target" / "compiled").rglob("never_overlaps_*.sql")
    with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as con:
        found = con.execute(f"select unit, begun from ({judged.read_text()})").fetchall()
    assert sorted(found) == [("meeting", 5), ("open, then newer", 5), ("two open", 5)]
