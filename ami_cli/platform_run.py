"""The running platform: reads settings, gives Pub/Sub, ingest and Dagster as child processes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from ami_api.exposure import check_exposure, local_url
from ami_cli.instance import instance_environment, prepare_instance, write_workspace
from ami_cli.processes import Supervisor, accepts, ami_command, answers, check_port, free_port
from ami_contract.settings import Settings
from ami_dashboard.server import HEALTH
from ami_store.backlog import read_backlog
from ami_store.lake import hours
from ami_store.ledger import truth_files

CODE_SERVER: Final = "code-server"
WEBSERVER: Final = "webserver"
DAEMON: Final = "daemon"
_IDLE_S = 2.5


def environment(settings: Settings) -> dict[str, str]:
    """Variables that make child processes use exactly these settings."""
    return {
        **instance_environment(settings),
        "AMI_PUBSUB_PORT": str(settings.pubsub_port),
        "AMI_DAGSTER_PORT": str(settings.dagster_port),
        "AMI_CODE_SERVER_PORT": str(settings.code_server_port),
        "AMI_API_HOST": settings.api_host,
        "AMI_API_PORT": str(settings.api_port),
        "AMI_DASHBOARD_PORT": str(settings.dashboard_port),
        # Python's own cache of compiled modules halves every start.
        "PYTHONDONTWRITEBYTECODE": "",
        # A backfill that meets the code server while that starts again waits, as runs do.
        "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1",
    }


def with_free_ports(settings: Settings, data_dir: Path) -> Settings:
    """Settings of another platform on this machine: its own folder, ports and stores."""
    return settings.model_copy(
        update={
            "profile": "local",
            "data_dir": data_dir,
            "dagster_postgres_url": SecretStr(""),
            "dagster_log_bucket": "",
            "pubsub_emulator_host": "",
            "pubsub_port": free_port(),
            "dagster_port": free_port(),
            "code_server_port": free_port(),
            "api_port": free_port(),
            "dashboard_port": free_port(),
        }
    )


def platform_lock(settings: Settings) -> Path:
    """Lock that the running platform of a data folder holds."""
    return settings.data.run / "platform.lock"


def needed_ports(settings: Settings) -> list[tuple[int, str, str]]:
    """Port, variable and purpose of all that the platform listens on."""
    ports = [
        (settings.dagster_port, "AMI_DAGSTER_PORT", "Dagster UI"),
        (settings.code_server_port, "AMI_CODE_SERVER_PORT", "Dagster code server"),
        (settings.api_port, "AMI_API_PORT", "API"),
        (settings.dashboard_port, "AMI_DASHBOARD_PORT", "dashboard"),
    ]
    if not settings.pubsub_emulator_host:
        ports.append((settings.pubsub_port, "AMI_PUBSUB_PORT", "Pub/Sub"))
    if settings.ingest_metrics_port:
        ports.append((settings.ingest_metrics_port, "AMI_INGEST_METRICS_PORT", "ingest metrics"))
    return ports


def check_ports(settings: Settings) -> None:
    """Raise SettingsError when a port the platform needs is taken."""
    for port, variable, purpose in needed_ports(settings):
        check_port(port, variable, purpose)


def start_pubsub(supervisor: Supervisor, settings: Settings) -> None:
    """Embedded Pub/Sub, unless the settings name another emulator."""
    if settings.pubsub_emulator_host:
        return
    supervisor.start("pubsub", ami_command("pubsub"), restarts=True)
    supervisor.wait_until(lambda: accepts(settings.pubsub_port), "the start of Pub/Sub", 30)


def start_ingest(supervisor: Supervisor) -> None:
    """The ingest loop."""
    supervisor.start("ingest", ami_command("ingest"), restarts=True)


def start_api(supervisor: Supervisor, settings: Settings) -> None:
    """The HTTP API; raises SettingsError when it would be open to other machines."""
    check_exposure(settings)
    supervisor.start("api", ami_command("api"), restarts=True)


def wait_for_api(supervisor: Supervisor, settings: Settings) -> str:
    """Wait until the API answers; returns its address."""
    url = local_url(settings)
    supervisor.wait_until(lambda: answers(f"{url}/health"), "the start of the API", 60)
    return url


def start_dashboard(supervisor: Supervisor) -> None:
    """The dashboard; it says so on its pages while the API does not answer."""
    supervisor.start("dashboard", ami_command("dashboard"), restarts=True)


def wait_for_dashboard(supervisor: Supervisor, settings: Settings) -> str:
    """Wait until the dashboard answers; returns its address."""
    url = f"http://127.0.0.1:{settings.dashboard_port}"
    supervisor.wait_until(lambda: answers(f"{url}{HEALTH}"), "the start of the dashboard", 60)
    return url


def dagster_command(part: str, settings: Settings, host: str = "127.0.0.1") -> list[str]:
    """Command line of Dagster's `code-server`, `webserver` or `daemon`; needs `environment`.

    The code server loads the definitions for the other two and starts the processes of runs. It is
    one process that a supervisor can watch, where `dagster code-server start` hides it in another.
    The webserver listens on `host`, the code server on loopback.
    """
    dagster = Path(sys.executable).parent / "dagster"
    if part == CODE_SERVER:
        return [
            *(str(dagster), "api", "grpc", "-m", "ami_dagster.definitions"),
            *("--location-name", "ami", "-h", "127.0.0.1", "-p", str(settings.code_server_port)),
        ]
    workspace = str(write_workspace(settings))
    if part == WEBSERVER:
        return [
            *(f"{dagster}-webserver", "-w", workspace),
            *("-h", host, "-p", str(settings.dagster_port)),
        ]
    return [f"{dagster}-daemon", "run", "-w", workspace]


def start_webserver(supervisor: Supervisor, settings: Settings) -> None:
    """Dagster's UI and code server, without the daemon that runs schedules and sensors."""
    prepare_instance(settings)
    for part in (CODE_SERVER, WEBSERVER):
        supervisor.start(part, dagster_command(part, settings), restarts=True)


def start_daemon(supervisor: Supervisor, settings: Settings) -> None:
    """Dagster's daemon; the code server should answer by now."""
    supervisor.start(DAEMON, dagster_command(DAEMON, settings), restarts=True)


def wait_for_dagster(supervisor: Supervisor, settings: Settings) -> str:
    """Wait until the UI answers and the definitions are loaded; returns its address."""
    url = f"http://127.0.0.1:{settings.dagster_port}"
    supervisor.wait_until(
        lambda: accepts(settings.code_server_port) and answers(f"{url}/server_info"),
        "the start of Dagster",
        120,
    )
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
    """Wait until the lake holds `at_least` rows or nothing is on its way; returns its rows.

    Refused readings never become rows, so the rows sent are only a bound to stop early at. Nothing
    is on its way when the lake has been still for a while and Pub/Sub has told since that no
    message waits; of another server than ours nothing is known but the stillness.
    """
    deadline = time.monotonic() + timeout_s
    still_since, changed_at = time.monotonic(), datetime.now(UTC)
    rows = stored_rows(settings)
    while time.monotonic() < deadline:
        supervisor.check()
        time.sleep(0.3)
        now_rows = stored_rows(settings)
        if now_rows != rows:
            still_since, changed_at = time.monotonic(), datetime.now(UTC)
            report(now_rows)
        rows = now_rows
        idle = time.monotonic() - still_since
        if rows >= at_least:
            break
        if rows and idle > _IDLE_S and _all_delivered(settings, changed_at):
            break
    return rows


def _all_delivered(settings: Settings, since: datetime) -> bool:
    backlog = read_backlog(settings.data, settings.subscription_path)
    return backlog is None or (backlog.at > since and not backlog.messages)


def last_truth_end(truth: Path) -> datetime | None:
    """End of the newest simulated run below `truth`, None when there is none.

    A run that starts there follows on without a hole and without a second truth for any reading.
    """
    ends = [
        datetime.fromisoformat(json.loads(path.read_bytes())["end"])
        for path in truth_files(truth, "run.json")
    ]
    return max(ends, default=None)


def now() -> datetime:
    """UTC wall clock, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
