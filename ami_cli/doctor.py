"""`ami doctor`: reads settings, environment and data folder, gives findings and what to do.

It changes nothing and takes no lock, so it may run beside everything else.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

import click
import psutil
import typer
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ami_cli.instance import ROOT, copy_state, instance_environment
from ami_cli.platform_run import needed_ports, platform_lock
from ami_cli.processes import accepts, holder
from ami_contract.errors import LakeError
from ami_contract.settings import Settings
from ami_store.lake import hours
from ami_store.quarantine import quarantined
from ami_store.registry import read_registry

Level = Literal["ok", "warn", "fail"]

LEAST_FREE_BYTES: Final = 1024**3
LITTLE_FREE_BYTES: Final = 5 * 1024**3
# Files of the data folder may be so far ahead of the clock.
CLOCK_TOLERANCE_S: Final = 60.0
# A writer that holds the warehouse for longer than run monitoring allows is stuck.
LONGEST_WRITE_S: Final = 7200.0
HEARTBEAT_S: Final = 120.0
LATELY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        check: what was looked at.
        level: ok; warn: works, but see to it; fail: something cannot work.
        message: what was found.
        advice: what to do; empty when ok.
    """

    check: str
    level: Level
    message: str
    advice: str = ""


def run_doctor(settings: Settings, *, as_json: bool) -> None:
    """Print every finding; exit status 1 when something cannot work."""
    found = findings(settings)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            line = f"{finding.level:4}  {finding.check:10}  {finding.message}"
            click.echo(f"{line}; {finding.advice}" if finding.advice else line)
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)


def findings(settings: Settings) -> list[Finding]:
    """All findings for these settings."""
    running = running_platform(settings)
    return [
        python_finding(),
        packages_finding(),
        platform_finding(running),
        *port_findings(settings, running),
        folder_finding(settings.data_dir),
        disk_finding(settings.data_dir),
        clock_finding(settings.data_dir, time.time()),
        credentials_finding(settings),
        pubsub_finding(settings, running),
        lake_finding(settings),
        registry_finding(settings),
        warehouse_finding(settings.data.warehouse),
        config_finding(settings),
        *instance_findings(settings, running),
    ]


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def python_finding() -> Finding:
    """Whether this Python is new enough."""
    needed = SpecifierSet(_project()["requires-python"])
    version = ".".join(map(str, sys.version_info[:3]))
    if version in needed:
        return Finding("python", "ok", f"Python {version}")
    return Finding(
        "python",
        "fail",
        f"Python {version} is not {needed}",
        "run `make clean setup PYTHON=…` with a newer one",
    )


def packages_finding(
    requirements: list[str] | None = None,
    version_of: Callable[[str], str] = metadata.version,
) -> Finding:
    """Whether all packages of pyproject.toml are there in a version it allows."""
    wrong = []
    checked = [Requirement(each) for each in requirements or _project()["dependencies"]]
    for requirement in checked:
        try:
            version = version_of(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is absent")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return Finding("packages", "fail", ", ".join(wrong), "run `make setup`")
    return Finding("packages", "ok", f"{len(checked)} packages in versions that pyproject allows")


def running_platform(settings: Settings) -> int | None:
    """Process id of the `ami up` or `ami demo` of this data folder, None when none runs."""
    return holder(platform_lock(settings))


def platform_finding(running: int | None) -> Finding:
    """Whether the platform runs."""
    return Finding("platform", "ok", f"runs (pid {running})" if running else "does not run")


def port_findings(settings: Settings, running: int | None) -> Iterator[Finding]:
    """Whether every port is free, or used by the platform that runs."""
    for port, variable, purpose in needed_ports(settings):
        if _is_free(port):
            if running:
                yield Finding(
                    "port",
                    "fail",
                    f"{purpose} does not listen on port {port}",
                    f"it may be starting; else see its log in {settings.data.logs}",
                )
            else:
                yield Finding("port", "ok", f"{port} is free for the {purpose}")
            continue
        pid = _listener(port)
        user = f" by {_described(pid)}" if pid else ""
        if running or (pid and _works_for(pid, settings)):
            yield Finding("port", "ok", f"{port} is used{user} for the {purpose}")
        else:
            yield Finding(
                "port",
                "fail",
                f"{port} ({purpose}) is taken{user}",
                f"stop what uses it or set {variable} to another",
            )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _listener(port: int) -> int | None:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    for each in connections:
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port:
            return each.pid
    return None


def _works_for(pid: int, settings: Settings) -> bool:
    """Whether a process belongs to this data folder, as one that systemd started does."""
    try:
        return psutil.Process(pid).environ().get("AMI_DATA_DIR") == str(settings.data_dir)
    except psutil.Error:
        return False


def orchestration_runs(settings: Settings, running: int | None) -> bool:
    """Whether Dagster is meant to run: below `ami up`, or its code server or UI without one."""
    if running:
        return True
    listeners = map(_listener, (settings.code_server_port, settings.dagster_port))
    return any(pid is not None and _works_for(pid, settings) for pid in listeners)


def _described(pid: int) -> str:
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return f"pid {pid}"
    return f"pid {pid} ({command[:80]})"


def folder_finding(data_dir: Path) -> Finding:
    """Whether the data folder, or the one it would be made in, can be written."""
    folder = _existing(data_dir)
    probe = folder / f".doctor-{os.getpid()}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        return Finding(
            "folder",
            "fail",
            f"{folder} cannot be written: {error.strerror}",
            "mend its permissions or set AMI_DATA_DIR to another",
        )
    return Finding("folder", "ok", f"{data_dir} can be written")


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def disk_finding(
    data_dir: Path, least: int = LEAST_FREE_BYTES, little: int = LITTLE_FREE_BYTES
) -> Finding:
    """Whether the disk of the data folder has room (limits in bytes)."""
    free = shutil.disk_usage(_existing(data_dir)).free
    message = f"{free / 1024**3:.1f} GiB free for {data_dir}"
    if free < least:
        return Finding(
            "disk", "fail", message, "free space: the ingest holds its batches when full"
        )
    if free < little:
        return Finding("disk", "warn", message, "free space before it is full")
    return Finding("disk", "ok", message)


def clock_finding(data_dir: Path, now_s: float) -> Finding:
    """Whether the clock (Unix time, s) is behind what the data folder was written at."""
    now = datetime.fromtimestamp(now_s, UTC)
    shown = f"{now:%Y-%m-%d %H:%M:%S} UTC, here {now.astimezone():%H:%M %Z}"
    folders = [data_dir, *(data_dir.glob("*") if data_dir.is_dir() else [])]
    newest_s = max((path.stat().st_mtime for path in folders if path.exists()), default=0.0)
    if newest_s > now_s + CLOCK_TOLERANCE_S:
        return Finding(
            "clock",
            "fail",
            f"the clock says {shown}, but files in {data_dir} are {newest_s - now_s:.0f} s younger",
            "set the clock (chronyc makestep, timedatectl set-ntp true): readings from the future "
            "are refused",
        )
    return Finding("clock", "ok", shown)


def credentials_finding(settings: Settings) -> Finding:
    """Whether Google's libraries find credentials, in the profile gcp."""
    if settings.profile != "gcp":
        return Finding("google", "ok", "not needed in the profile local")
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        _, project = google.auth.default()
    except DefaultCredentialsError as error:
        return Finding(
            "google",
            "fail",
            f"no credentials: {str(error).splitlines()[0]}",
            "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
        )
    if project and project != settings.project_id:
        return Finding(
            "google",
            "warn",
            f"the credentials are of project {project}, AMI_PROJECT_ID is {settings.project_id}",
            "set AMI_PROJECT_ID unless that is meant",
        )
    return Finding("google", "ok", f"credentials found, project {settings.project_id}")


def pubsub_finding(settings: Settings, running: int | None) -> Finding:
    """Whether the Pub/Sub emulator of the settings answers."""
    if settings.profile == "gcp":
        return Finding("pubsub", "ok", "Google's own in the profile gcp")
    if settings.pubsub_emulator_host:
        host, _, port = settings.pubsub_emulator_host.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
        except (OSError, ValueError) as error:
            return Finding(
                "pubsub",
                "fail",
                f"the emulator {settings.pubsub_emulator_host} does not answer: {error}",
                "start it, or unset PUBSUB_EMULATOR_HOST to use the embedded Pub/Sub",
            )
        return Finding("pubsub", "ok", f"the emulator {settings.pubsub_emulator_host} answers")
    if accepts(settings.pubsub_port) or not running:
        state = "answers" if running else "the embedded one starts with `ami up`"
        return Finding("pubsub", "ok", state)
    return Finding(
        "pubsub",
        "fail",
        f"the embedded Pub/Sub does not answer on port {settings.pubsub_port}",
        f"see {settings.data.logs / 'pubsub.log'}",
    )


def lake_finding(settings: Settings) -> Finding:
    """Whether every folder and manifest of the lake is of this lake, and every file is sound."""
    try:
        found = list(hours(settings.data))
    except LakeError as error:
        return Finding("lake", "fail", str(error), "see docs/architecture.md for what lies where")
    if aside := list(quarantined(settings.data)):
        return Finding(
            "lake",
            "warn",
            f"{len(aside)} damaged files are set aside, first {aside[0].path}: {aside[0].reason}",
            f"`{aside[0].remedy}` stores their readings again",
        )
    waiting = sum(not hour.is_compacted for hour in found)
    return Finding("lake", "ok", f"{len(found)} hours, {waiting} of them wait for compaction")


def registry_finding(settings: Settings) -> Finding:
    """Whether the registry is readable."""
    registry = settings.data.registry
    if not registry.exists():
        return Finding(
            "registry",
            "warn",
            f"{registry} does not exist: no meter has a pole",
            "simulator and import write it, or write it yourself",
        )
    try:
        rows = read_registry(registry).num_rows
    except LakeError as error:
        return Finding("registry", "fail", str(error), "correct the file")
    return Finding("registry", "ok", f"{rows} meters in {registry}")


def warehouse_finding(warehouse: Path, longest_s: float = LONGEST_WRITE_S) -> Finding:
    """Who holds the warehouse; one process at a time can write it."""
    if not warehouse.exists():
        return Finding("warehouse", "ok", "nothing is built yet")
    for pid, since_s in _holders(warehouse):
        message = f"{warehouse.name} is held by {_described(pid)} since {since_s:.0f} s"
        if since_s > longest_s:
            return Finding(
                "warehouse",
                "warn",
                message,
                f"builds wait for it; end it (kill {pid}) if it does nothing any more",
            )
        return Finding("warehouse", "ok", message)
    return Finding("warehouse", "ok", f"nobody writes {warehouse}")


def _holders(file: Path) -> Iterator[tuple[int, float]]:
    """Process id and age in s of the processes that have `file` open."""
    path = str(file.resolve())
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(
                opened.path == path for opened in process.open_files()
            ):
                yield process.pid, time.time() - process.create_time()
        except psutil.Error:
            continue


def config_finding(settings: Settings) -> Finding:
    """Whether the instance's dagster.yaml is a copy of the template."""
    path = settings.data.dagster_home / "dagster.yaml"
    match copy_state(settings):
        case "absent":
            return Finding("config", "ok", f"{path} is made at the first start")
        case "outdated":
            return Finding("config", "ok", f"{path} is replaced at the next start")
        case "edited":
            return Finding(
                "config",
                "warn",
                f"{path} was edited, so it does not follow the template",
                "delete it to take the template again",
            )
        case "current":
            return Finding("config", "ok", f"{path} is the template")


def instance_findings(settings: Settings, running: int | None) -> Iterator[Finding]:
    """Whether Dagster's instance opens, its daemon lives and its runs succeed."""
    if copy_state(settings) == "absent":
        return
    # dagster.yaml takes values from there.
    os.environ.update(instance_environment(settings))
    import dagster as dg

    home = settings.data.dagster_home
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield _runs_finding(instance)
            yield _daemon_finding(instance, is_meant_to_run=orchestration_runs(settings, running))
    except Exception as error:  # whatever a class named in dagster.yaml raises
        yield Finding(
            "dagster",
            "fail",
            f"the instance in {home} does not open: {_first_line(error)}",
            "correct dagster.yaml, or see that what it names answers (PostgreSQL, the bucket)",
        )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _runs_finding(instance: Any) -> Finding:
    import dagster as dg

    failed = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE], updated_after=datetime.now(UTC) - LATELY
        ),
        limit=100,
    )
    if not failed:
        return Finding("runs", "ok", "no run failed in the last 24 h")
    newest = failed[0].dagster_run
    return Finding(
        "runs",
        "warn",
        f"{len(failed)} runs failed in the last 24 h, last {newest.job_name} {newest.run_id}",
        "see it in the Dagster UI under Runs",
    )


def _daemon_finding(instance: Any, *, is_meant_to_run: bool) -> Finding:
    beats = instance.get_daemon_heartbeats().values()
    newest_s = max((beat.timestamp for beat in beats), default=0.0)
    age_s = time.time() - newest_s
    if newest_s and age_s < HEARTBEAT_S:
        return Finding("daemon", "ok", f"heartbeat {age_s:.0f} s ago")
    last = f"last heartbeat {age_s:.0f} s ago" if newest_s else "no heartbeat yet"
    if is_meant_to_run:
        return Finding(
            "daemon",
            "fail",
            f"{last}: no schedule or sensor runs",
            "it may be starting; else see daemon.log in the folder of the logs, or "
            "`journalctl --unit ami-daemon`",
        )
    return Finding("daemon", "ok", f"does not run, {last}")
