"""Runs tests over a copy of the project: takes a fault, gives whether a test noticed it.

The copy lies in a temporary folder; the working tree is never changed. Each mutant is a process
forked from one that has loaded the libraries, but nothing of the project.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from hypothesis import Phase, settings

from .faults import Mutant, Outcome
from .modules import PythonModule
from .operators import Fault, apply

ROOT = Path(__file__).parents[2]
# A mutant that no database or compiler accepts says nothing about the tests.
_REFUSED = re.compile(
    r"(Parser|Binder|Catalog|Compilation|Conversion) (Error|Exception)|SyntaxError"
    r"|(Parser|Binder|Catalog|Conversion)Exception"
)
_TICK_S = 0.02

# The same examples for each mutant, and the first that fails ends it.
_AS_GIVEN: Final[dict[str, Any]] = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "phases": (Phase.explicit, Phase.generate),
}


@dataclass
class _Run:
    mutant: Mutant
    pid: int
    began_s: float
    sandbox: Path


def copy_project(target: Path) -> None:
    """The project as it stands, what is not committed yet included, but nothing that is ignored."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


class Judges:
    """Sandboxes in which mutants are judged, several at a time.

    Args:
        module: what is under mutation.
        folder: for the sandboxes.
        workers: how many mutants are judged at a time.
    """

    def __init__(self, module: PythonModule, folder: Path, workers: int) -> None:
        self.module = module
        self.free = [folder / str(number) for number in range(workers)]
        for sandbox in self.free:
            sandbox.mkdir()
            copy_project(sandbox)
        for name in module.preload:
            __import__(name)

    def unharmed(self) -> float:
        """Seconds that the tests take when nothing is wrong.

        Raises:
            RuntimeError: they fail although nothing is wrong.
        """
        path = next(iter(ROOT.glob(self.module.sources[0])))
        whole = Mutant(str(path.relative_to(ROOT)), path.read_text(), Fault(0, 0, ""))
        (outcome,) = self.outcomes([whole], 600)
        if outcome.status != "survived":
            raise RuntimeError(f"the tests fail unharmed:\n{outcome.output}")
        return outcome.seconds

    def outcomes(self, mutants: list[Mutant], limit_s: float) -> Iterator[Outcome]:
        """What comes of each mutant, in the order in which they end."""
        waiting, running = list(reversed(mutants)), list[_Run]()
        try:
            while waiting or running:
                while waiting and self.free:
                    running.append(self._start(waiting.pop(), self.free.pop()))
                time.sleep(_TICK_S)
                for run in list(running):
                    outcome = _ended(run, limit_s)
                    if outcome:
                        running.remove(run)
                        _put(run.sandbox / run.mutant.path, run.mutant.text)
                        self.free.append(run.sandbox)
                        yield outcome
        finally:
            for run in running:
                os.killpg(run.pid, signal.SIGKILL)
                os.waitpid(run.pid, 0)

    def _start(self, mutant: Mutant, sandbox: Path) -> _Run:
        _put(sandbox / mutant.path, apply(mutant.text, mutant.fault))
        shutil.rmtree(sandbox / ".tmp", ignore_errors=True)
        pid = os.fork()
        if not pid:
            self._judge(sandbox)
        return _Run(mutant, pid, time.monotonic(), sandbox)

    def _judge(self, sandbox: Path) -> NoReturn:
        """Run the tests in this process, a fork; it ends with the status of pytest."""
        status = 3
        try:
            os.setsid()
            written = os.open(sandbox / ".output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(written, 1)
            os.dup2(written, 2)
            os.chdir(sandbox)
            os.environ |= {"PYTHONPATH": str(sandbox), "AMI_DUCKDB_MEMORY_LIMIT": "1GB"}
            sys.dont_write_bytecode = False
            sys.path[:] = [str(sandbox), *(p for p in sys.path if Path(p or ".") != ROOT)]
            for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
                del sys.modules[name]
            import pytest

            settings.register_profile("mutation", **_AS_GIVEN)

            status = pytest.main(
                [
                    *("-x", "-q", "-m", "not slow", "--tb=short", "-p", "no:cacheprovider"),
                    *("-p", "no:randomly", "--rootdir", str(sandbox)),
                    *("--hypothesis-profile", "mutation"),
                    *("-c", str(sandbox / "pyproject.toml"), "--basetemp", str(sandbox / ".tmp")),
                    *self.module.tests,
                ]
            )
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(status))


def _put(path: Path, text: str) -> None:
    """Write a source file and forget what was compiled of it, which might pass for the new text."""
    path.write_text(text)
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


def _ended(run: _Run, limit_s: float) -> Outcome | None:
    """The outcome of a run that is over; one that takes too long is ended."""
    seconds = time.monotonic() - run.began_s
    pid, status = os.waitpid(run.pid, os.WNOHANG)
    output = run.sandbox / ".output"
    if not pid:
        if seconds < limit_s:
            return None
        os.killpg(run.pid, signal.SIGKILL)
        os.waitpid(run.pid, 0)
        return Outcome(run.mutant, "timeout", seconds, output.read_text())
    said = output.read_text()
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        result = "survived"
    elif code in (1, 2) and _REFUSED.search(said):
        result = "invalid"
    else:
        result = "killed"
    return Outcome(run.mutant, result, seconds, said)
