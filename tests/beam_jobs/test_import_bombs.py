"""A small file that stands for gigabytes is refused in bounded memory and time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

MEGABYTE = 1024 * 1024
BOMB_MB = 600
MOST_MB = 300
MAP = """
event_ts: time
meter_id: m1
pole_id: p1
voltage_v: v
current_a: a
power_kw: kw
sample_interval_s: 1
registry: {nominal_voltage_v: 240}
"""
# Beam's first import takes as much memory as it likes; from there on it is bounded.
PROGRAM = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
import psutil
from ami_contract.lake import DataDir
from ami_contract.errors import SettingsError
from beam_jobs.decode import PayloadBounds
from beam_jobs.import_map import load_map
from beam_jobs.importer import import_file
file, mapping, data, most = sys.argv[1:]
own = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (own + int(most), own + int(most)))
try:
    import_file(DataDir(Path(data)), Path(file), load_map(Path(mapping)),
                now=lambda: datetime.now(UTC), bounds=PayloadBounds(2**23, 2**26))
except SettingsError as error:
    print(error)
"""


def bomb(path: Path, beginning: bytes) -> Path:
    """A file of `BOMB_MB` without the end of a line, compressed as it is written."""
    with pa.output_stream(str(path), compression="zstd") as stream:
        stream.write(beginning)
        for _ in range(BOMB_MB):
            stream.write(b"4" * MEGABYTE)
    assert path.stat().st_size < 2 * MEGABYTE
    return path


@pytest.mark.parametrize(
    ("beginning", "line"),
    [(b"", 1), (b"time,v,a,kw\n2026-03-01T14:00:00Z,240,1,0.2\n", 3)],
    ids=["header", "row"],
)
def test_a_line_without_end_is_refused_with_its_number(
    tmp_path: Path, beginning: bytes, line: int
) -> None:
    (tmp_path / "map.yaml").write_text(MAP)
    file = bomb(tmp_path / "file.csv.zst", beginning)
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, str(file), str(tmp_path / "map.yaml")),
            *(str(tmp_path / "data"), str(MOST_MB * MEGABYTE)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"line {line} is longer than 1048576 characters" in done.stdout
    assert len(done.stdout.splitlines()) == 1
