"""`ami build`: reads what is pending, gives a built and published warehouse."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from rich.status import Status

from ami_cli.terminal import console, is_interactive, say
from ami_contract.settings import Settings

if TYPE_CHECKING:
    from ami_dagster.local_run import Outcome

INSTANCE_TEMPLATE: Final = Path(__file__).resolve().parent.parent / "dagster.yaml"
WORKSPACE: Final = Path(__file__).resolve().parent.parent / "workspace.yaml"


def prepare_instance(settings: Settings) -> Path:
    """Dagster's home below the data folder, with its config; also tells child processes."""
    home = settings.data.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(INSTANCE_TEMPLATE, home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ["AMI_DATA_DIR"] = str(settings.data_dir)
    return home


def build(settings: Settings, since: datetime | None, until: datetime | None) -> Outcome:
    """Materialize what is pending, with progress on the terminal."""
    home = prepare_instance(settings)
    with Status("loading definitions", console=console) as status:
        warnings.filterwarnings("ignore", module="dagster")
        from ami_dagster.build import build_definitions
        from ami_dagster.local_run import build_pending, instance_of

        logging.getLogger("dagster").setLevel(logging.ERROR)
        begun = time.monotonic()

        def report(line: str) -> None:
            if is_interactive():
                say(f"[{time.monotonic() - begun:5.1f} s] {line}")
                status.update(line)
            else:
                say(f"build: {line}")

        definitions = build_definitions(settings)
        settings.data.logs.mkdir(parents=True, exist_ok=True)
        with (
            _interruption_passed_on(),
            instance_of(home) as instance,
            (settings.data.logs / "build.log").open("a", encoding="utf-8") as log,
            redirect_stdout(log),
        ):
            return build_pending(
                definitions, instance, settings.data, since=since, until=until, report=report
            )


@contextmanager
def _interruption_passed_on() -> Iterator[None]:
    """Dagster's own exception for Ctrl-C is Ctrl-C again, once its run is marked as failed."""
    from dagster import DagsterExecutionInterruptedError

    try:
        yield
    except DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error


def run_build(settings: Settings, since: datetime | None, until: datetime | None) -> None:
    """Build and say what came of it; exit status 1 with what failed."""
    begun = time.monotonic()
    outcome = build(settings, since, until)
    for failure in outcome.failures:
        say(f"failed: {failure}")
    if outcome.failures:
        runs = ", ".join(outcome.runs)
        log = settings.data.logs / "build.log"
        say(f"build failed; see runs {runs} in the Dagster UI, and {log}")
        raise typer.Exit(1)
    if outcome.runs:
        say(
            f"built {outcome.hours} hours in {time.monotonic() - begun:.0f} s; "
            f"published {settings.data.published_warehouse}"
        )
