"""Runs a module in a process of its own; gives the JSON of its last line.

Memory is that of one task alone in such a process, and peers bring packages of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.definition import BenchmarkError, Metric, Target
from benchmarks.tool_environments import environment_of

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS_LOCK: Final = ROOT / "benchmarks" / "peers" / "peers.lock"
QUANTITIES: Final = {"wall_s": "s", "cpu_s": "s", "memory_bytes": "bytes"}
"""What `benchmarks.peers.cost` tells of a task, with units."""

_LONGEST_S: Final = 1800


def clean_environment(**more: str) -> dict[str, str]:
    """The caller's environment without its settings of the platform, and `more`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AMI_", "PUBSUB_"))}
    return kept | more


def output_of(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a command printed.

    Raises:
        BenchmarkError: it failed; with its last lines.
    """
    done = subprocess.run(
        command,
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if done.returncode:
        # Traces end with what went wrong, some engines' messages begin with it.
        said = (done.stdout + done.stderr)[-4000:]
        raise BenchmarkError(f"{' '.join(command[:4])} … failed: {said}")
    return done.stdout


def in_own_process(
    module: str, *arguments: object, python: str | Path = sys.executable
) -> dict[str, float]:
    """What `module` says in its last line.

    Args:
        module: run as `python -m module`, without the caller's `AMI_` variables.
        arguments: of its command line.
        python: of the environment to run it in.

    Raises:
        BenchmarkError: it failed; with its last lines.
    """
    command = [str(python), "-m", module, *map(str, arguments)]
    said = output_of(command, clean_environment(PYTHONPATH=str(ROOT)))
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def peer(module: str, *arguments: object) -> dict[str, float]:
    """`in_own_process` in the environment of the peers, made when it is not there yet.

    Raises:
        BenchmarkError: it failed; with its last lines.
    """
    try:
        python = environment_of(PEERS_LOCK)
    except RuntimeError as error:
        raise BenchmarkError(f"the peers' packages cannot be installed: {error}") from error
    return in_own_process(module, *arguments, python=python)


def side_metrics(
    prefix: str, sides: Mapping[str, str], repeats: int, targets: Mapping[str, Target]
) -> Iterator[Metric]:
    """Time, CPU time and memory of each side of a comparison.

    Args:
        prefix: of the ids `<prefix>.<side>.<quantity>`.
        sides: what each does.
        repeats: of a task in its process.
        targets: by `<side>.<quantity>`; of others there is none.
    """
    for side, what in sides.items():
        for quantity, unit in QUANTITIES.items():
            yield Metric(
                f"{prefix}.{side}.{quantity}",
                unit,
                targets.get(f"{side}.{quantity}"),
                f"{what}; a process of its own, the least of {repeats} for times.",
            )
