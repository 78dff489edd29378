"""Reads a command; runs it in mounts, network and processes of its own, where Linux allows that.

Inside, disks can be mounted and filled and links be cut without touching the machine, and the
kernel ends everything that was started, whatever becomes of who started it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType
from typing import Final

import psutil

from ami_cli.processes import STOPPING

_INSIDE: Final = "AMI_CHAOS_NAMESPACES"
_UNSHARE: Final = (
    "unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--mount-proc",
    "--kill-child",
)  # fmt: skip
_LOOPBACK: Final = ("ip", "link", "set", "lo", "up")


def are_mine() -> bool:
    """Whether this process runs in namespaces of its own."""
    return _INSIDE in os.environ


def why_not() -> str:
    """Why this machine gives no namespaces; empty when it does."""
    for tool in ("unshare", "nsenter", "ip", "mount"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    probe = "mount -t tmpfs tmpfs /mnt && " + " ".join(_LOOPBACK)
    done = subprocess.run([*_UNSHARE, "sh", "-c", probe], capture_output=True, check=False)
    return done.stderr.decode(errors="replace").strip() if done.returncode else ""


def run_inside(module: str, arguments: list[str]) -> int:
    """Run `python -m module` in namespaces; Ctrl-C and SIGTERM go to it. Returns its status."""
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    process = subprocess.Popen(
        [*guard, *_UNSHARE, sys.executable, "-m", module, *arguments],
        env=os.environ | {_INSIDE: "1"},
        start_new_session=True,
    )

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                child.terminate()

    for number in STOPPING:
        signal.signal(number, pass_on)
    try:
        return process.wait()
    finally:
        process.kill()


def become_init() -> None:
    """Go on in a child; this process, the first of its namespace, buries orphans and follows it."""
    subprocess.run(_LOOPBACK, check=True)
    child = os.fork()
    if child == 0:
        return

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)

    for number in STOPPING:
        signal.signal(number, pass_on)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
