"""Environments of the judges: reads a lock file of this folder, gives a Python made of it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.tool_environments import environment_of

HERE = Path(__file__).parent


def environment(name: str) -> Path:
    """Python of the environment that `<name>.lock` describes; see `environment_of`."""
    return environment_of(HERE / f"{name}.lock")
