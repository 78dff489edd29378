"""Environments of tools and peers: reads a lock file, gives the Python of one made of it.

They lie in `.cache/` of the project, one per state of the lock, apart from the product's own.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "judges"


def environment_of(lock: Path) -> Path:
    """Python of the environment that a lock describes, made if it is not there yet.

    Raises:
        RuntimeError: a package could not be installed; the message ends with uv's own.
    """
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"{lock.stem}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / lock.name).open("w") as turn:
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
