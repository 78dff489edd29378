"""Reads a simulated fleet's 30 days; gives what a person waits for: starts, pages, an event's shed.

API and dashboard are `ami api` and `ami dashboard` in processes of their own; pages are seen by a
headless Chromium. A demand-response event is computed in a process of its own too.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import httpx

from ami_cli.processes import ami_command, free_port
from ami_contract.lake import DataDir
from ami_dashboard.server import HEALTH
from benchmarks.browser import FAULT, browser_page, chromium, seconds_until_drawn
from benchmarks.definition import (
    Benchmark,
    BenchmarkError,
    Context,
    Measurements,
    Metric,
    at_most,
)
from benchmarks.processes import in_own_process, peer, side_metrics
from benchmarks.suite.serving import START, prepare, served
from benchmarks.tasks import compute_shed

_PEER: Final = "benchmarks.peers.tutorial_baseline"
_DAYS: Final = 30
_QUICK_DAYS: Final = 20
_REPEATS: Final = 5
_STARTS_WITHIN_S: Final = 60.0
_WIDE: Final = (1280, 900)
_SATURDAY: Final = 5
_LOCAL_NOON: Final = timedelta(hours=19)
"""Of Los Angeles in summer time, from midnight UTC."""

_CLOSE_KWH: Final = 1e-6


@contextmanager
def dashboard(api: str, folder: Path) -> Iterator[tuple[str, float]]:
    """`ami dashboard` over an API: its address, and the time (s) until it answered.

    Raises:
        BenchmarkError: it does not answer.
    """
    folder.mkdir(exist_ok=True)
    port = free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AMI_")}
    address = f"http://127.0.0.1:{port}"
    begun_s = time.monotonic()
    with (folder / "dashboard.log").open("wb") as log:
        process = subprocess.Popen(
            ami_command("dashboard", "--port", str(port)),
            env=kept | {"AMI_API_URL": api, "HOME": str(folder)},
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        while not _answers(f"{address}{HEALTH}"):
            if process.poll() is not None or time.monotonic() > begun_s + _STARTS_WITHIN_S:
                raise BenchmarkError(f"ami dashboard does not answer, see {log.name}")
            time.sleep(0.02)
        yield address, time.monotonic() - begun_s
    finally:
        process.terminate()
        process.wait(30)


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=1).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def page_times(address: str, pole: str) -> dict[str, float]:
    """Time (s) until each page is drawn, in the order of a visit that begins with a fresh browser.

    Raises:
        BenchmarkError: there is no browser, or a page shows a fault.
    """
    program = chromium()
    if not program:
        raise BenchmarkError("no chromium on PATH (Debian: apt install chromium)")
    paths = {
        "fleet": "/",
        "pole": f"/pole?pole={pole}&range=6h",
        "dr": "/dr",
        "quality": "/quality",
    }
    found = {}
    with browser_page(program, *_WIDE) as page:
        for name, path in paths.items():
            found[name] = seconds_until_drawn(page, f"{address}{path}", name)
            if page.locator(FAULT).count():
                raise BenchmarkError(f"the page {path} shows a fault")
    return found


def event_window(end: datetime) -> tuple[datetime, datetime]:
    """16:00 to 18:00 in Los Angeles on the last working day but one before `end`."""
    day = end - timedelta(days=2)
    while day.weekday() >= _SATURDAY:
        day -= timedelta(days=1)
    starts = day + _LOCAL_NOON + timedelta(hours=4)
    return starts, starts + timedelta(hours=2)


def check_same_sheds(ours: Path, theirs: Path, poles: int) -> None:
    """Raise BenchmarkError unless both know the shed of every pole, and agree."""
    row = duckdb.execute(
        f"SELECT count(*) FILTER (abs(o.shed_kwh - t.shed_kwh) <= {_CLOSE_KWH} "
        f"AND abs(o.baseline_kwh - t.baseline_kwh) <= {_CLOSE_KWH}) "
        f"FROM '{ours}' AS o JOIN '{theirs}' AS t USING (pole_id)"
    ).fetchone()
    assert row is not None
    if row[0] != poles:
        raise BenchmarkError(f"of {poles} poles {row[0]} have the same shed in the notebook")


def measure(context: Context) -> Measurements:
    """Starts, pages, and an event by the platform and by a notebook.

    Raises:
        BenchmarkError: dbt failed, a server does not answer, a page is faulty, or sheds differ.
    """
    days = _QUICK_DAYS if context.quick else _DAYS
    data = DataDir(context.work / "data")
    poles = prepare(data, days)
    start, end = (t.isoformat() for t in event_window(START + timedelta(days=days)))
    power, ours, theirs = (context.work / f"{n}.parquet" for n in ("power", "ours", "theirs"))
    with duckdb.connect(str(data.published_warehouse), read_only=True) as con:
        con.execute(
            "COPY (SELECT pole_id, slot_ts, dr_power_kw FROM v_5min_pole) "
            f"TO '{power}' (FORMAT parquet)"
        )
    while True:
        begun_s = time.monotonic()
        with served(data) as (base, server):
            api_start_s = time.monotonic() - begun_s
            api_bytes = server.memory_info().rss
            with dashboard(base, context.work / "home") as (address, dashboard_start_s):
                pages = page_times(address, poles[0])
        event = in_own_process(compute_shed.__name__, data.root, start, end, ours, _REPEATS)
        zone = "America/Los_Angeles"
        notebook = peer(_PEER, power, zone, start, end, theirs, _REPEATS)
        check_same_sheds(ours, theirs, len(poles))
        yield {
            "api.start_s": api_start_s,
            "api.start.memory_bytes": api_bytes,
            "dashboard.start_s": dashboard_start_s,
            "dashboard.interactive_s": max(pages.values()),
            **{f"dashboard.{name}.interactive_s": value for name, value in pages.items()},
            **{f"dr.event.{quantity}": value for quantity, value in event.items()},
            **{f"dr.pandas.{quantity}": value for quantity, value in notebook.items()},
            "dr.ratio_pandas": notebook["cpu_s"] / event["cpu_s"],
        }


_LAKE: Final = f"20 poles of 5 meters, readings every 5 minutes over {_DAYS} days"
_PAGES: Final = {
    "fleet": "the first page, with the browser's cache empty",
    "pole": "a pole over 6 h",
    "dr": "demand response",
    "quality": "data quality",
}
_SIDES: Final = {
    "event": "an event of two hours, all 20 poles, six methods with three adjustments each, by the "
    "published function `dr_window_summary`, from opening the snapshot on",
    "pandas": "the same event, one of the methods with its own adjustment, as a notebook computes "
    "it from the poles' 5-minute power (`benchmarks/peers/tutorial_baseline.py`); same kWh",
}

PERSON: Final = Benchmark(
    (
        Metric(
            "api.start_s",
            "s",
            at_most(5),
            "from starting the process `ami api` until it answers `GET /poles`; " + _LAKE + ".",
        ),
        Metric(
            "api.start.memory_bytes",
            "bytes",
            None,
            "resident memory of the server then.",
        ),
        Metric(
            "dashboard.start_s",
            "s",
            at_most(5),
            "from starting the process `ami dashboard` until its health check answers.",
        ),
        Metric(
            "dashboard.interactive_s",
            "s",
            at_most(3),
            "from the browser's request until the last line of a page stands and the page is idle, "
            "the slowest of the four pages of a visit; headless Chromium on the same machine.",
        ),
        *(
            Metric(f"dashboard.{name}.interactive_s", "s", None, f"the same: {what}.")
            for name, what in _PAGES.items()
        ),
        *side_metrics("dr", _SIDES, _REPEATS, {"event.wall_s": at_most(1)}),
        Metric(
            "dr.ratio_pandas",
            "ratio",
            None,
            "CPU time of `dr.pandas` over that of `dr.event`, which computes 18 answers.",
        ),
    ),
    runs=3,
    measure=measure,
)
