"""`ami build`: reads what is pending, gives a built and published warehouse."""

from __future__ import annotations

import io
import logging
import re
import signal
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final, TextIO

import typer

from ami_cli.instance import prepare_instance
from ami_cli.processes import STOPPING
from ami_cli.terminal import Working, say
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings

if TYPE_CHECKING:
    from ami_dagster.local_run import Outcome

_DBT_PROGRESS: Final = re.compile(r"(\d+) of (\d+) (?:OK|PASS|WARN|ERROR|FAIL)")


def build(settings: Settings, since: datetime | None, until: datetime | None) -> Outcome:
    """Materialize what is pending, with progress on the terminal."""
    home = prepare_instance(settings)
    settings.data.logs.mkdir(parents=True, exist_ok=True)
    with (
        Working("loading definitions") as working,
        (settings.data.logs / "build.log").open("a", encoding="utf-8") as log,
        redirect_stdout(_BuildLog(log, working)),
        _interruption_passed_on(),
    ):
        warnings.filterwarnings("ignore", module="dagster")
        from ami_dagster.build import build_definitions
        from ami_dagster.local_run import build_pending, instance_of

        logging.getLogger("dagster").setLevel(logging.ERROR)

        def report(line: str) -> None:
            say(f"build: {line}")
            working.now(line)

        definitions = build_definitions(settings)
        with instance_of(home) as instance:
            return build_pending(
                definitions, instance, settings.data, since=since, until=until, report=report
            )


class _BuildLog(io.TextIOBase):
    """Standard output of a build: all of it goes to a file, dbt's progress to the terminal."""

    def __init__(self, log: TextIO, working: Working) -> None:
        super().__init__()
        self._log = log
        self._working = working

    def write(self, text: str, /) -> int:
        """Log `text` and show how far dbt is."""
        if found := _DBT_PROGRESS.search(text):
            self._working.now(f"dbt: {found[1]} of {found[2]} models and tests")
        return self._log.write(text)

    def flush(self) -> None:
        """Flush the file."""
        self._log.flush()


@contextmanager
def _interruption_passed_on() -> Iterator[None]:
    """Ctrl-C and its like are Ctrl-C again, once the run is marked as failed.

    Dagster makes an exception of its own of them, and DuckDB, in the middle of a query, a
    RuntimeError that fails the run as any other would. So the signals themselves are counted.
    """
    from dagster import DagsterExecutionInterruptedError

    ours, waking = socket.socketpair()
    with ours, waking:
        ours.setblocking(False)
        waking.setblocking(False)
        before = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        try:
            yield
        except DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt from error
        finally:
            signal.set_wakeup_fd(before)
        with suppress(BlockingIOError):
            if set(ours.recv(1024)) & set(STOPPING):
                raise KeyboardInterrupt


def run_build(settings: Settings, since: datetime | None, until: datetime | None) -> None:
    """Build and say what came of it; exit status 1 with what failed.

    Raises:
        SettingsError: the profile is gcp, whose models are not built from a lake on this machine.
    """
    if settings.profile == "gcp":
        raise SettingsError(
            "`ami build` builds the lake of this machine; with AMI_PROFILE=gcp `ami dbt build` "
            "builds the models in BigQuery, as Dagster's schedules do "
            "(docs/operations.md#on-google-cloud)"
        )
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
