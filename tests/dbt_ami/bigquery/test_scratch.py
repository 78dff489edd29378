import json
from pathlib import Path
from datetime import timedelta
from .conftest import MODELS_ONLY
from .warehouses import *
from .test_googlesql import failures
import pytest
@pytest.mark.timeout(900)
def test_scratch(sources, googlesql, project, tmp_path):
    stored = sources["raw_meter_readings"]
    newest = max(r["event_ts"] for r in stored)
    on_time = [r for r in stored if r["event_ts"] < newest - timedelta(minutes=5)]
    args = ("--exclude", "models/marts/demand_response", "models/intermediate/demand_response", *MODELS_ONLY)
    build = {"dbt": dbt_arguments(project, tmp_path, "googlesql", "build", *args)}
    steps = [load_step("meters", sources["meters"]), load_step("raw_meter_readings", on_time), build,
       load_step("raw_meter_readings", stored), {"watch": 1}, build, {"watched": 1}]
    *_, first, _, _, second, reads = run_plan(googlesql, tmp_path, steps)
    assert first["success"], failures(first)
    assert second["success"], failures(second)
    Path("/tmp/reads.json").write_text(json.dumps(reads))
