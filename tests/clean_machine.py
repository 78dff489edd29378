"""Reads the last commit; tells what its two first commands take on a machine that has nothing yet.

    sudo .venv/bin/python -m tests.clean_machine [--user nobody] [--memory-gb 4]

A clone in a folder of its own, with an empty home and empty caches, runs `make demo` until its
pages answer and the API has a warehouse to ask, is stopped as by Ctrl-C, and runs `make smoke`. As
root it does so as a limited user inside a memory limit (a cgroup); as anybody else without either,
and says so. Exit status: 0 both worked, 1 one did not, 2 the options are wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from ami_cli.processes import free_port

ROOT: Final = Path(__file__).resolve().parent.parent
PORTS: Final = ("PUBSUB", "API", "DAGSTER", "CODE_SERVER", "DASHBOARD")
# Where packages come from is the machine's business; what it has kept of them is not.
KEPT_ENVIRONMENT: Final = (
    "PIP_",
    "UV_",
    "SSL_",
    "REQUESTS_",
    "HTTP",
    "http",
    "NO_PROXY",
    "no_proxy",
)
CACHES: Final = ("PIP_CACHE_DIR", "UV_CACHE_DIR")
INSTALL_S: Final = 1800
START_S: Final = 300
SMOKE_S: Final = 600
STOP_S: Final = 60
GB: Final = 1 << 30


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.clean_machine", description=__doc__)
    parser.add_argument("--user", default="nobody", help="who runs the commands (as root only)")
    parser.add_argument("--memory-gb", type=float, default=4.0, help="limit of all processes")
    parser.add_argument("--out", type=Path, help="file for the figures, JSON")
    options = parser.parse_args(arguments)
    user = options.user if os.geteuid() == 0 else None
    base = Path(tempfile.mkdtemp(prefix="ami-clean-"))
    base.chmod(0o755)
    try:
        with memory_limit(int(options.memory_gb * GB)) as group:
            figures = measure(base, user, group)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for name, value in figures.items():
        print(f"{name:32} {value}")
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if figures["demo"] == figures["smoke"] == "passed" else 1


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[Path | None]:
    """A cgroup that holds no more than so much; None where none can be made."""
    root = Path("/sys/fs/cgroup")
    is_v2 = (root / "cgroup.controllers").exists()
    group = (root if is_v2 else root / "memory") / f"ami-clean-{os.getpid()}"
    try:
        group.mkdir()
        name = "memory.max" if is_v2 else "memory.limit_in_bytes"
        (group / name).write_text(str(limit_bytes))
    except OSError as error:
        print(f"no memory limit: {error}", file=sys.stderr)
        yield None
        return
    try:
        yield group
    finally:
        for _ in range(50):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.2)


def measure(base: Path, user: str | None, group: Path | None) -> dict[str, object]:
    """Both commands in a clone below `base`; names and values of the figures."""
    folder = base / "ami"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    for name in ("home", "tmp"):
        (base / name).mkdir()
    if user:
        subprocess.run(["chown", "-R", f"{user}:", str(base)], check=True)
    environment = clean_environment(base)
    started = Started(folder, environment, user, group)
    received = received_bytes()
    figures: dict[str, object] = {
        "user": user or "the caller's own",
        "memory_limit_gb": read_limit(group) if group else "none",
    }
    with peak_memory(started) as peak:
        figures |= demo(started)
        figures["downloaded_mb"] = (received_bytes() - received) // 1_000_000
        figures["demo_peak_memory_mb"] = peak() // 1_000_000
        figures |= smoke(started)
    figures["venv_mb"] = size(folder / ".venv") // 1_000_000
    figures["caches_mb"] = size(base / "home") // 1_000_000
    figures["data_mb"] = size(folder / ".ami") // 1_000_000
    if group:
        figures["limit_was_hit_times"] = limit_hits(group)
    return figures


class Started:
    """Commands in the clone, each below a session of its own."""

    def __init__(
        self, folder: Path, environment: dict[str, str], user: str | None, group: Path | None
    ) -> None:
        self.folder, self.environment, self.user, self.group = folder, environment, user, group
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self, *command: str) -> subprocess.Popen[bytes]:
        record = pwd.getpwnam(self.user) if self.user else None

        def enter() -> None:
            if self.group:
                (self.group / "cgroup.procs").write_text(str(os.getpid()))
            if record:
                os.setgroups([])
                os.setgid(record.pw_gid)
                os.setuid(record.pw_uid)

        log = (self.folder.parent / f"{command[-1]}.log").open("wb")
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=enter,
        )
        self.processes.append(process)
        return process

    def said(self, command: str) -> str:
        """Last lines of what `make command` printed."""
        return (self.folder.parent / f"{command}.log").read_text(errors="replace")[-2000:]


def clean_environment(base: Path) -> dict[str, str]:
    """Free ports, an empty home, and nothing of the caller's but where packages come from."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(KEPT_ENVIRONMENT) and name not in CACHES
    }
    return environment | {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(base / "home"),
        "TMPDIR": str(base / "tmp"),
        "LANG": "C.UTF-8",
        **{f"AMI_{name}_PORT": str(free_port()) for name in PORTS},
    }


def demo(started: Started) -> dict[str, object]:
    """`make demo` until its pages answer and a warehouse is published; then Ctrl-C."""
    begun = time.monotonic()
    process = started("make", "demo")
    installed = started.folder / ".venv" / ".runtime"
    figures: dict[str, object] = {"demo": "failed"}
    ports = started.environment

    def until(name: str, is_there: Callable[[], bool], limit_s: float) -> bool:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and process.poll() is None:
            if is_there():
                figures[name] = round(time.monotonic() - begun, 1)
                return True
            time.sleep(0.5)
        print(f"{name} did not come: {started.said('demo')}", file=sys.stderr)
        return False

    def page(port: str, path: str = "/") -> bool:
        try:
            url = f"http://127.0.0.1:{ports[f'AMI_{port}_PORT']}{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    worked = (
        until("installed_s", installed.exists, INSTALL_S)
        and until("dagster_answers_s", lambda: page("DAGSTER"), START_S)
        and until("dashboard_answers_s", lambda: page("DASHBOARD"), START_S)
        and until("api_is_ready_s", lambda: page("API", "/ready"), START_S)
    )
    stopping = time.monotonic()
    end(process, signal.SIGINT)
    figures["stopped_within_s"] = round(time.monotonic() - stopping, 1)
    if worked:
        figures["demo"] = "passed"
    return figures


def smoke(started: Started) -> dict[str, object]:
    """`make smoke`, with what the demo installed."""
    begun = time.monotonic()
    process = started("make", "smoke")
    try:
        status = process.wait(SMOKE_S)
    except subprocess.TimeoutExpired:
        end(process, signal.SIGINT)
        status = -1
    if status:
        print(started.said("smoke"), file=sys.stderr)
    return {
        "smoke": "failed" if status else "passed",
        "smoke_s": round(time.monotonic() - begun, 1),
    }


def end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Signal the command's whole session as a terminal does; kill what is left."""
    if process.poll() is None:
        os.killpg(process.pid, how)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        print(f"not stopped within {STOP_S} s, killed", file=sys.stderr)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def peak_memory(started: Started) -> Iterator[Callable[[], int]]:
    """Gives the largest sum of the proportional memory (bytes) of all that runs, until asked."""
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(2):
            peak = max(peak, sum(map(proportional_memory, started.processes)))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield lambda: peak
    ended.set()
    watcher.join()


def proportional_memory(process: subprocess.Popen[bytes]) -> int:
    """Of a process and all below it (bytes)."""
    total = 0
    try:
        root = psutil.Process(process.pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for each in family:
        try:
            total += each.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def limit_hits(group: Path) -> int:
    """How often the kernel had to reclaim memory because of the limit."""
    failures = group / "memory.failcnt"
    if failures.exists():
        return int(failures.read_text())
    events = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
    return int(events["max"])


def read_limit(group: Path) -> float:
    """GB that the group may hold."""
    name = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
    return round(int((group / name).read_text()) / GB, 2)


def received_bytes() -> int:
    """Bytes that came from other machines since this one was started."""
    counters = psutil.net_io_counters(pernic=True)
    return sum(each.bytes_recv for name, each in counters.items() if name != "lo")


def size(folder: Path) -> int:
    """Bytes on disk of a folder; hard links count once."""
    found = subprocess.run(
        ["du", "--summarize", "--block-size=1", str(folder)], capture_output=True, text=True
    )
    return int(found.stdout.split()[0]) if found.stdout else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
