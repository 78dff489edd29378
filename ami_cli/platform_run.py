"""The running platform: reads settings, gives Pub/Sub, ingest and Dagster as child processes."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ami_cli.building import WORKSPACE, prepare_instance
from ami_cli.processes import Supervisor, accepts, ami_command, answers, check_port
from ami_contract.settings import Settings
from ami_store.lake import hours

_IDLE_S = 2.5


def environment(settings: Settings) -> dict[str, str]:
    """Variables that make child processes use exactly these settings."""
    return {
        "AMI_DATA_DIR": str(settings.data_dir),
        "AMI_PUBSUB_PORT": str(settings.pubsub_port),
        "AMI_DAGSTER_PORT": str(settings.dagster_port),
        "DAGSTER_HOME": str(settings.data.dagster_home),
        # Python's own cache of compiled modules halves every start.
        "PYTHONDONTWRITEBYTECODE": "",
    }


def check_ports(settings: Settings) -> None:
    """Raise SettingsError when a port the platform needs is taken."""
    if not settings.pubsub_emulator_host:
        check_port(settings.pubsub_port, "AMI_PUBSUB_PORT", "Pub/Sub")
    check_port(settings.dagster_port, "AMI_DAGSTER_PORT", "Dagster UI")


def start_pubsub(supervisor: Supervisor, settings: Settings) -> None:
    """Embedded Pub/Sub, unless the settings name another emulator."""
    if settings.pubsub_emulator_host:
        return
    supervisor.start("pubsub", ami_command("pubsub"))
    supervisor.wait_until(lambda: accepts(settings.pubsub_port), "the start of Pub/Sub", 30)


def start_ingest(supervisor: Supervisor) -> None:
    """The ingest loop."""
    supervisor.start("ingest", ami_command("ingest"))


def start_dagster(supervisor: Supervisor, settings: Settings) -> None:
    """Dagster's UI, daemon and code server."""
    prepare_instance(settings)
    program = str(Path(sys.executable).parent / "dagster")
    supervisor.start(
        "dagster",
        [program, "dev", "-w", str(WORKSPACE), "-h", "127.0.0.1", "-p", str(settings.dagster_port)],
        # It ends its children only on what Ctrl-C sends.
        stop_signal=signal.SIGINT,
    )


def start_webserver(supervisor: Supervisor, settings: Settings) -> None:
    """Dagster's UI alone, without the daemon that runs schedules and sensors."""
    prepare_instance(settings)
    program = str(Path(sys.executable).parent / "dagster-webserver")
    supervisor.start(
        "dagster",
        [program, "-w", str(WORKSPACE), "-h", "127.0.0.1", "-p", str(settings.dagster_port)],
    )


def wait_for_dagster(supervisor: Supervisor, settings: Settings) -> str:
    """Wait until the UI answers; returns its address."""
    url = f"http://127.0.0.1:{settings.dagster_port}"
    supervisor.wait_until(lambda: answers(f"{url}/server_info"), "the start of Dagster", 120)
    return url


def stored_rows(settings: Settings) -> int:
    """Rows stored in the lake, copies included."""
    return sum(hour.stored_rows for hour in hours(settings.data))


def wait_for_ingest(
    supervisor: Supervisor,
    settings: Settings,
    *,
    at_least: int,
    timeout_s: float,
    report: Callable[[int], None] = lambda rows: None,
) -> int:
    """Wait until the lake holds `at_least` rows or has been still for a while; returns its rows.

    Refused readings never become rows, so the rows sent are only a bound to stop early at.
    """
    deadline = time.monotonic() + timeout_s
    still_since = time.monotonic()
    rows = stored_rows(settings)
    while time.monotonic() < deadline:
        supervisor.check()
        time.sleep(0.3)
        now_rows = stored_rows(settings)
        if now_rows != rows:
            still_since = time.monotonic()
            report(now_rows)
        rows = now_rows
        idle = time.monotonic() - still_since
        if rows >= at_least or (rows and idle > _IDLE_S):
            break
    return rows


def last_truth_end(truth: Path) -> datetime | None:
    """End of the newest simulated run below `truth`, None when there is none.

    A run that starts there follows on without a hole and without a second truth for any reading.
    """
    ends = [
        datetime.fromisoformat(json.loads(path.read_bytes())["end"])
        for path in truth.rglob("run.json")
    ]
    return max(ends, default=None)


def now() -> datetime:
    """UTC wall clock, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
