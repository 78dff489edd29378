"""Launches runs like Dagster's default: reads their events, tells whether their process lives.

Dagster's own launcher cannot tell, so a run whose process was lost together with its code server
(a power cut, say) would look busy until `max_runtime_seconds`, and schedules would wait for it.
Works where all processes of an instance see the same process ids.
"""

from __future__ import annotations

from typing import Final

import psutil
from dagster import DagsterEventType, DagsterRun
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus

_EVENTS: Final = 20


class WatchedRunLauncher(DefaultRunLauncher):
    """`run_launcher:` of an instance whose run monitoring notices lost processes."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring asks `check_run_worker_health` for every started run."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the process that started the run is alive; RUNNING when no event names one."""
        # The first: later events may name processes of single steps, which end before the run.
        for record in self._instance.get_records_for_run(
            run.run_id, of_type=DagsterEventType.ENGINE_EVENT, limit=_EVENTS, ascending=True
        ).records:
            event = record.event_log_entry.dagster_event
            pid = event.engine_event_data.metadata.get("pid") if event else None
            if pid is not None:
                number = int(str(pid.value))
                if _is_alive(number, since_s=record.event_log_entry.timestamp):
                    return CheckRunHealthResult(WorkerStatus.RUNNING)
                return CheckRunHealthResult(
                    WorkerStatus.FAILED, f"process {number} ended before its run"
                )
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def _is_alive(pid: int, since_s: float) -> bool:
    """Whether a process has this id since before a moment (Unix time, s)."""
    try:
        process = psutil.Process(pid)
        # The clock of process starts is a tick coarser than that of events.
        return process.create_time() <= since_s + 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
