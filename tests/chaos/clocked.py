"""Reads a file with seconds and a command of `ami`; runs it with a clock that is wrong by so much.

    python -m tests.chaos.clocked FILE ingest

The file is read at every look at the clock, so the clock jumps when it is written.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import ami_cli.ingestion
from ami_cli.main import main
from tests.chaos import compaction

_real_ns = time.time_ns


def jump_with(file: Path) -> None:
    """Let this process' wall clock follow `file`; clocks that only go forward stay as they are."""

    def time_ns() -> int:
        return _real_ns() + round(float(file.read_text() or 0) * 1e9)

    def now() -> datetime:
        return datetime.fromtimestamp(time_ns() / 1e9, UTC)

    # What of the platform looks at a wall clock takes it from here; deadlines of gRPC, which take
    # `time.time`, do not jump with a real clock either.
    time.time_ns = time_ns
    ami_cli.ingestion._now = now
    compaction.now = now


if __name__ == "__main__":
    jump_with(Path(sys.argv[1]))
    sys.argv = ["ami", *sys.argv[2:]]
    if sys.argv[1] == "compact-forever":
        compaction.compact_forever(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
