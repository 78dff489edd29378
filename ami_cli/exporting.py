"""`ami export`: reads options, gives readings or marts as CSV or Parquet files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ami_cli.terminal import Working, is_interactive, say
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings
from ami_store.export import Order, export

_LOG_EVERY_S = 10.0


def form_of(form: str | None, out: Path) -> Any:
    """`csv` or `parquet`: as given, else by the name of the file; raises SettingsError."""
    if form is None:
        named = out.name.removesuffix(".gz").rsplit(".", 1)
        form = named[-1] if len(named) > 1 else "csv"
    if form not in ("csv", "parquet"):
        raise SettingsError(f"--format {form!r}: csv or parquet")
    return form


def run_export(settings: Settings, order: Order) -> None:
    """Export and say what was written; raises AmiError."""
    if order.by not in (None, "day", "pole"):
        raise SettingsError(f"--by {order.by!r}: day or pole")
    if order.start and order.end and order.end <= order.start:
        raise SettingsError("--to is not after --from")
    logged_at = time.monotonic()
    with Working(f"exporting {order.table}") as working:

        def progress(rows: int) -> None:
            nonlocal logged_at
            working.now(f"exporting {order.table}: {rows:,} rows")
            if not is_interactive() and time.monotonic() - logged_at >= _LOG_EVERY_S:
                say(f"exported {rows} rows")
                logged_at = time.monotonic()

        done = export(settings.data, order, progress=progress)
    files = "" if order.by is None else f" in {done.files} files"
    say(f"{done.rows} rows of {order.table} (by {done.time}){files} → {order.out}")
