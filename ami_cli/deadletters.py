"""`ami deadletter`: reads dead letters, gives lists, one letter whole, or their replay."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime

import click

from ami_cli.ingestion import payload_bounds
from ami_cli.query import check_format, print_rows
from ami_cli.terminal import Working, say
from ami_contract.errors import RejectionCode, SettingsError
from ami_contract.settings import Settings
from beam_jobs.layout import read_archive
from beam_jobs.letters import (
    Choice,
    Letter,
    Replayed,
    letters,
    replay_letters,
    summary,
    whole_payload,
)
from beam_jobs.sinks import as_text

_LISTED = (
    "dead_letter_id", "ingest_ts", "code", "field", "readings", "meter_id", "seq", "detail",
)  # fmt: skip


def choice_of(
    codes: list[str] | None = None,
    meters: list[str] | None = None,
    since: datetime | None = None,
    ids: list[str] | None = None,
) -> Choice:
    """Letters that options choose; raises SettingsError for a code that does not exist."""
    known = {code.value for code in RejectionCode}
    for code in codes or ():
        if code not in known:
            raise SettingsError(f"--code {code!r}: one of {', '.join(sorted(known))}")
    return Choice(frozenset(codes or ()), frozenset(ids or ()), frozenset(meters or ()), since)


def list_letters(settings: Settings, choice: Choice, limit: int | None, output: str) -> None:
    """Print counts by code and field, or with `limit` the newest letters; raises AmiError."""
    check_format(output)
    with read_archive(settings.data):
        found = letters(settings.data, choice)
        if limit is not None:
            print_rows(_LISTED, [_row(letter) for letter in deque(found, limit)], output)
            return
        groups = summary(found)
    columns = ("code", "field", "letters", "readings", "first", "last")
    print_rows(columns, [[group[name] for name in columns] for group in groups], output)


def _row(letter: Letter) -> list[object]:
    return [getattr(letter, name) for name in _LISTED]


def show_letter(settings: Settings, identity: str) -> None:
    """Print one letter with its whole payload as JSON; raises AmiError."""
    with read_archive(settings.data):
        found = next(letters(settings.data, Choice(ids=frozenset([identity]))), None)
        if found is None:
            raise SettingsError(f"no dead letter {identity!r}; see `ami deadletter ls --limit 20`")
        payload = whole_payload(settings.data, found)
    shown = {name: getattr(found, name) for name in found.__struct_fields__} | {
        "payload": None,
        "payload_base64": None,
    }
    click.echo(json.dumps(shown | as_text(payload), indent=2, ensure_ascii=False))


def run_deadletter_replay(settings: Settings, choice: Choice, *, dry_run: bool) -> Replayed:
    """Replay letters and say what came of them; raises AmiError."""
    with Working("judging dead letters") as working:
        done = replay_letters(
            settings.data,
            choice,
            now=datetime.now(UTC),
            bounds=payload_bounds(settings),
            dry_run=dry_run,
            progress=lambda done: working.now(f"{done.letters:,} letters judged"),
        )
    would = "would be " if dry_run else ""
    refused = ", ".join(f"{count} {name}" for name, count in done.refused.most_common())
    say(
        f"{done.letters} letters: {done.stored} readings {would}stored from {done.left} of them; "
        f"still refused: {refused or 'nothing'}"
        + ("; next: ami build" if done.stored and not dry_run else "")
    )
    return done
