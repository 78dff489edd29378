"""Reads a data folder; gives one run of `detect_sags` in this process, and what loading took.

    python -m benchmarks.one_tick HOUR

It imports nothing but what a run imports: imports are a part of what is measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime

from ami_contract.settings import load_settings
from ami_dagster.build import build_definitions
from ami_dagster.jobs import DETECT_SAGS, REASON_TAG
from ami_dagster.local_run import instance_of
from ami_dagster.partitions import Stretch
from ami_store.bigquery import dbt_variables


def tick(hour: datetime) -> dict[str, float | bool]:
    """Look for sags in the open hour in this process; whether that succeeded, and what it took.

    The CPU time (s) to load the definitions is that of the whole process until then.
    """
    settings = load_settings()
    os.environ.update(dbt_variables(settings))
    definitions = build_definitions(settings)
    definitions_cpu_s = time.process_time()
    with instance_of(settings.data.dagster_home) as instance:
        result = definitions.resolve_job_def(DETECT_SAGS).execute_in_process(
            instance=instance,
            tags={**Stretch(hour, hour).tags, REASON_TAG: "benchmark"},
            raise_on_error=False,
        )
    return {"success": result.success, "definitions_cpu_s": definitions_cpu_s}


if __name__ == "__main__":
    print(json.dumps(tick(datetime.fromisoformat(sys.argv[1]))))
