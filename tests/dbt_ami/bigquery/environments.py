"""Environments of the judges: reads a lock file, gives the Python of an environment made of it.

They lie in `.cache/` of the project, one per state of the lock, apart from the product's own.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache" / "judges"


def environment(name: str) -> Path:
    """Python of the environment that `<name>.lock` describes, made if it is not there yet.

    Raises:
        RuntimeError: a package could not be installed; the message ends with uv's own.
    """
    lock = HERE / f"{name}.lock"
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _run("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
            _run("pip", "sync", "--quiet", "--python", str(folder), str(lock))
            (folder / "complete").touch()
    return folder / "bin" / "python"


def _run(*arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run([str(uv), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(arguments)}: {done.stderr.strip()}")
