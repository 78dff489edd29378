"""dbt in forked processes: takes arguments, gives exit status and output.

A process forked from one that has imported dbt starts in a fraction of the time, and is otherwise
as fresh as one that a shell starts. What dbt parses of the project is the same for every warehouse,
but dbt keeps it for one only; here it is parsed once for each state of the project.
"""

from __future__ import annotations

import fcntl
import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).parents[2] / "dbt_ami"
_PARSED = Path(__file__).parents[2] / ".cache" / "parsed"
_SOURCES = ("models", "macros", "tests", "seeds")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["dbt.cli.main", "dbt.task.build", "dbt.adapters.duckdb.impl", "ami_store.dbt_lake", "pandas"]
)


@cache
def parsed_project() -> Path:
    """File with what dbt has parsed of the project as it is."""
    paths = [path for folder in _SOURCES for path in sorted((PROJECT / folder).rglob("*.*"))]
    paths += sorted(PROJECT.glob("*.yml"))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(str(path).encode() + path.read_bytes())
    target = _PARSED / f"{digest.hexdigest()[:16]}.msgpack"
    _PARSED.mkdir(parents=True, exist_ok=True)
    with (_PARSED / "lock").open("w") as turn, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not target.exists():
            for old in _PARSED.glob("*.msgpack"):
                old.unlink()
            subprocess.run(
                [
                    *(str(Path(sys.executable).with_name("dbt")), "--quiet", "parse"),
                    *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
                    *("--target-path", folder, "--log-path", folder),
                ],
                check=True,
                env={**os.environ, "AMI_DATA_DIR": folder},
            )
            shutil.move(Path(folder, "partial_parse.msgpack"), target)
    return target


def forked_dbt(arguments: list[str], environment: dict[str, str], output: Path) -> int:
    """Exit status of dbt run with `arguments`; what it prints stands in the file `output`."""
    parsed = parsed_project() if _parses_alike(arguments) else None
    child = _CONTEXT.Process(target=_run, args=(arguments, environment, output, parsed))
    child.start()
    child.join(240)
    if child.exitcode is None:
        child.kill()
        child.join()
    return 1 if child.exitcode is None else child.exitcode


def _parses_alike(arguments: list[str]) -> bool:
    project = arguments[arguments.index("--project-dir") + 1]
    return Path(project) == PROJECT and "--vars" not in arguments


def _run(
    arguments: list[str], environment: dict[str, str], output: Path, parsed: Path | None
) -> NoReturn:
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest

    os.environ.update(environment)
    output.parent.mkdir(parents=True, exist_ok=True)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    manifest = Manifest.from_msgpack(parsed.read_bytes()) if parsed else None
    if manifest:
        manifest.build_flat_graph()
    result = dbtRunner(manifest=manifest).invoke(arguments)
    # A fork ends without the handlers of an exit, one of which has DuckDB write its file.
    DuckDBConnectionManager.close_all_connections()
    sys.stdout.flush()
    os._exit(0 if result.success else 1)
