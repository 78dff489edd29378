"""`ami replay` and `ami archive`: read archive and dead letter, give the lake they make."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ami_cli.ingestion import payload_bounds
from ami_cli.terminal import Working, is_interactive, say, stopping_on_signals
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings
from beam_jobs.layout import Layout, Report, lay_out
from beam_jobs.replay import Replay, Span, replay_in_place, replay_into

_LOG_EVERY_S = 10.0


def layout_of(settings: Settings) -> Layout:
    """How the archive is laid out."""
    return Layout(settings.archive_minutes, settings.archive_gzip)


def run_archive(settings: Settings) -> Report:
    """Lay out all closed minutes now and say what was done; raises LakeError."""
    with Working("laying out the archive") as working, stopping_on_signals() as stop:

        def progress(done: Report) -> None:
            working.now(f"archive: {done.segments:,} segments → {done.files:,} files")

        done = lay_out(
            settings.data,
            layout_of(settings),
            now=datetime.now(UTC),
            everything=True,
            progress=progress,
            stop=stop,
        )
    say(
        f"archive: {done.segments} segments → {done.files} files in {settings.data.archive_raw}, "
        f"{done.lines} messages or parts of messages; {done.carried} wait for their minute to close"
    )
    return done


def run_replay(
    settings: Settings, start: datetime | None, end: datetime | None, into: Path | None
) -> None:
    """Replay and say what came of it.

    Raises:
        SettingsError: the range is empty or the new folder in use.
        LakeError: see `beam_jobs.replay`.
    """
    span = Span.outward(start, end)
    if (start, end) != (span.start, span.end):
        say(f"replay: whole hours, so {span}")
    begun = time.monotonic()
    with Working("replaying") as working:
        report = _reporter(working)
        if into is None:
            done = replay_in_place(
                settings.data,
                span,
                now=datetime.now(UTC),
                bounds=payload_bounds(settings),
                report=report,
            )
        else:
            target = into.expanduser().absolute()
            if target == settings.data_dir:
                raise SettingsError("--into must be another folder than AMI_DATA_DIR")
            done = replay_into(
                settings.data, target, span, bounds=payload_bounds(settings), report=report
            )
    seconds = time.monotonic() - begun
    say(_sentence(done, seconds))
    if into is not None:
        say(f"next: AMI_DATA_DIR={into} ami build")
        return
    for hour in done.restored:
        say(f"{hour.hour.start:%Y-%m-%d %H:00}Z: {hour.rows} → {hour.new_rows} rows")
    say(
        f"{len(done.restored)} hours replaced, {done.unchanged} were right"
        + ("; next: ami build" if done.restored else "")
    )


def _sentence(done: Replay, seconds: float) -> str:
    refused = ", ".join(f"{count} {code}" for code, count in done.refused.items())
    return (
        f"replay: {done.files} files and {done.letters} dead letters: {done.stored} readings "
        f"accepted, {done.refused.total()} refused{f' ({refused})' if refused else ''} "
        f"in {seconds:.1f} s ({done.stored / max(seconds, 1e-9):,.0f} readings/s)"
    )


def _reporter(working: Working) -> Callable[[Replay], None]:
    logged_at = time.monotonic()

    def report(done: Replay) -> None:
        nonlocal logged_at
        line = f"replay: {done.files} of {done.of_files} files, {done.stored:,} readings"
        working.now(line)
        if not is_interactive() and time.monotonic() - logged_at >= _LOG_EVERY_S:
            say(line)
            logged_at = time.monotonic()

    return report
