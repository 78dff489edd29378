"""Reads the machine, the installed packages and git; gives what a figure depends on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil

PACKAGES: Final = (
    "apache-beam",
    "dagster",
    "dbt-core",
    "dbt-duckdb",
    "duckdb",
    "google-cloud-pubsub",
    "numpy",
    "orjson",
    "pyarrow",
)
_GIB: Final = 1024**3
_SAME_MACHINE: Final = ("cpu", "cores", "memory_gib")


def machine(disk: Path) -> dict[str, Any]:
    """CPU model, usable cores, memory (GiB), operating system, and file system of `disk`."""
    return {
        "cpu": _cpu_model(),
        "cores": len(psutil.Process().cpu_affinity())
        if hasattr(psutil.Process, "cpu_affinity")
        else psutil.cpu_count() or 1,
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "os": platform.platform(),
        "filesystem": _filesystem(disk),
    }


def is_same_machine(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether figures of both may stand in one table."""
    return all(one.get(key) == other.get(key) for key in _SAME_MACHINE)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _filesystem(path: Path) -> str:
    """Type of the file system that holds `path`, which need not exist."""
    place = path.absolute()
    mounts = {
        Path(part.mountpoint): part.fstype
        for part in psutil.disk_partitions(all=True)
        if place.is_relative_to(part.mountpoint)
    }
    return mounts[max(mounts, key=lambda mount: len(mount.parts))] if mounts else "unknown"


def versions() -> dict[str, str]:
    """Python and the packages that figures depend on, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def load_1m() -> float:
    """Mean number of runnable processes of the last minute; high means a busy machine."""
    return round(os.getloadavg()[0], 2)


def commit(root: Path, own_output: tuple[Path, ...]) -> tuple[str, bool]:
    """Commit of the checkout at `root`, and whether files differ from it.

    Args:
        root: of the checkout.
        own_output: files below `root` that measuring itself writes; they do not count.

    Returns:
        (`unknown`, True) where there is no git checkout.
    """
    ours = [f":(exclude){path.relative_to(root)}" for path in own_output]
    try:
        head = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", ".", *ours)
    except (OSError, subprocess.CalledProcessError):
        return "unknown", True
    return head, bool(changes)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
