"""Reads minutes and a rate; gives a row of figures per minute and a verdict on what grows.

    python -m tests.soak [--minutes 60] [--rate 2000] [--kill-every 60] [--seed S] [--out FILE]

`ami up` with all its parts takes the readings of simulated meters in real time, while kill -9 hits
one of its processes after another. The table stands beside the JSON file, as text.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psutil

from ami_cli.processes import Supervisor, ami_command
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.backlog import read_backlog
from ami_store.ledger import balance
from ami_store.warehouse import query
from tests.live_platform import PARTS, LivePlatform, live
from tests.long_story import say, seed_of, tell
from tests.soak.flatness import Limit, Trend, growth, trend, warm
from tests.soak.measure import GATEWAY, RUNS, row, utc_now

METERS_PER_POLE: Final = 20
GRACE_S: Final = 300
"""Replaced files go after this, instead of the 900 s of the default: a run of an hour shall see
many of them go."""

_EVERY_S: Final = 60.0
_LOOK_S: Final = 0.5
_BYTES_MORE: Final = 0.25
_MEMORY: Final = Limit(share=0.15, floor=40.0)
_LIMITS: Final = {
    **{f"{part}_mb": _MEMORY for part in (*PARTS, GATEWAY)},
    "latency_p50_s": Limit(share=0.2, floor=1.0),
    "latency_p95_s": Limit(share=0.2, floor=3.0),
    "unacked_messages": Limit(share=0.2, floor=100.0),
    "landing_files": Limit(share=0.25, floor=200.0),
    "published_age_s": Limit(share=0.25, floor=120.0),
}
_GROWING: Final = (
    ("archive_files", "at_s"),
    ("disk_mb", "readings"),
    ("archive_mb_on_disk", "readings"),
)
_COLUMNS: Final = (
    ("minute", "min", "{:.0f}"),
    ("killed", "killed", "{}"),
    ("readings", "readings", "{:,.0f}"),
    ("latency_p50_s", "p50 s", "{:.1f}"),
    ("latency_p95_s", "p95 s", "{:.1f}"),
    ("unacked_messages", "unacked", "{:.0f}"),
    ("pubsub_mb", "pubsub MB", "{:.0f}"),
    ("ingest_mb", "ingest MB", "{:.0f}"),
    ("gateway_mb", "gateway MB", "{:.0f}"),
    ("api_mb", "api MB", "{:.0f}"),
    ("dashboard_mb", "dashb. MB", "{:.0f}"),
    ("daemon_mb", "daemon MB", "{:.0f}"),
    ("code-server_mb", "code MB", "{:.0f}"),
    ("webserver_mb", "web MB", "{:.0f}"),
    ("runs_mb", "runs MB", "{:.0f}"),
    ("landing_files", "landing", "{:.0f}"),
    ("archive_files", "archive", "{:.0f}"),
    ("files", "files", "{:.0f}"),
    ("disk_mb", "disk MB", "{:.0f}"),
    ("published_age_s", "age s", "{:.0f}"),
)


class Meters:
    """The gateways of all meters, as one process that is started again when it ends.

    Args:
        folder: for its configuration, log and spool.
        meters: readings per second.
        seed: of the simulation.
        settings: variables of its platform.
    """

    def __init__(self, folder: Path, meters: int, seed: int, settings: dict[str, str]) -> None:
        self.supervisor = Supervisor(folder / "logs", settings)
        path = folder / "soak.yaml"
        config = {
            "seed": seed,
            "fleet": {
                "feeders": 5,
                "poles": math.ceil(meters / METERS_PER_POLE),
                "meters_per_pole": METERS_PER_POLE,
            },
            "sample_hz": 1,
            "publish_mode": "batch",
            "payload": "arrow",
            "batch_interval_s": 5,
            "network_profile": ["wired", "5g", "lte_m"],
            "duplicate_prob": 0.001,
            "reorder_prob": 0.005,
            "force_sag_every_s": 600,
        }
        path.write_text(json.dumps(config))
        begin = datetime.now(UTC).replace(microsecond=0)
        self._command = ami_command(
            *("simulate", "--config", str(path), "--from", begin.isoformat()),
            *("--spool", str(folder / "spool")),
        )
        self._process: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        """Start it, and start it again when it has ended."""
        if self._process is not None and self._process.poll() is None:
            return
        self.supervisor.stop(GATEWAY)
        self._process = self.supervisor.start(GATEWAY, self._command)

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        return self.supervisor.pid(GATEWAY)


def pid_of(platform: LivePlatform, meters: Meters, part: str) -> int | None:
    """Process id of a part, None while it does not run."""
    if part == GATEWAY:
        return meters.pid
    if part != RUNS:
        return platform.pid(part)
    for child in psutil.Process(platform.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            line = child.cmdline()
            if "build" in line and any(Path(each).name == "dbt" for each in line[:2]):
                return child.pid
    return None


def strike(platform: LivePlatform, meters: Meters, rng: random.Random) -> str:
    """kill -9 of one of the processes; gives its name."""
    parts = [*PARTS, GATEWAY, RUNS]
    rng.shuffle(parts)
    for part in parts:
        pid = pid_of(platform, meters, part)
        if pid is not None:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
                return part
    return ""


def watch(
    platform: LivePlatform,
    meters: Meters,
    subscription: str,
    *,
    minutes: float,
    kill_every_s: float,
    rng: random.Random,
) -> list[dict[str, Any]]:
    """Let it run and be killed; gives a row per minute, each printed as it comes."""
    begun_s = time.monotonic()
    rows: list[dict[str, Any]] = []
    killed: list[str] = []
    # Not at the same moment as the rows, so that these show the platform as it is as a rule.
    next_kill_s = begun_s + kill_every_s / 2
    next_row_s, since_s = begun_s + _EVERY_S, time.time()
    say("  ".join(title for _, title, _ in _COLUMNS))
    while time.monotonic() < begun_s + minutes * 60:
        time.sleep(_LOOK_S)
        if platform.process.poll() is not None:
            raise RuntimeError(f"`ami up` has ended: {platform.log.read_text()[-2000:]}")
        meters.tend()
        now_s = time.monotonic()
        if kill_every_s and now_s >= next_kill_s:
            next_kill_s += kill_every_s
            killed.append(strike(platform, meters, rng))
        if now_s >= next_row_s:
            next_row_s += _EVERY_S
            looked_s = time.time()
            figures = row(platform.data, platform.process.pid, meters.pid, subscription, since_s)
            since_s = looked_s
            found = {
                "at": utc_now(),
                "at_s": round(now_s - begun_s, 1),
                "minute": round((now_s - begun_s) / 60),
                "killed": ",".join(killed),
                **figures,
            }
            killed = []
            rows.append(found)
            say(line_of(found))
    return rows


def line_of(found: Mapping[str, Any]) -> str:
    """A row for people."""
    return "  ".join(
        ("-" if found.get(name) is None else form.format(found[name])).rjust(len(title))
        for name, title, form in _COLUMNS
    )


def settle(data: DataDir, subscription: str, timeout_s: float = 180.0) -> bool:
    """Wait until Pub/Sub holds nothing any more; False when it still does."""
    deadline = time.monotonic() + timeout_s
    asked = datetime.now(UTC) + timedelta(seconds=5)
    while time.monotonic() < deadline:
        known = read_backlog(data, subscription)
        if known is not None and known.at > asked and not known.messages:
            return True
        time.sleep(1)
    return False


def verdict(rows: Sequence[Mapping[str, Any]]) -> list[Trend]:
    """Whether each figure is flat."""
    found = [trend(figure, rows, limit) for figure, limit in _LIMITS.items()]
    return found + [growth(figure, per, rows, _BYTES_MORE) for figure, per in _GROWING]


def judge_readings(data: DataDir, settings: dict[str, str], folder: Path) -> dict[str, Any]:
    """What the ledger and the marts say when all is built."""
    log = folder / "logs" / "build.log"
    with log.open("ab") as output, Supervisor(folder / "logs", settings) as supervisor:
        process = supervisor.start("last-build", ami_command("build"))
        status = process.wait(1800)
        output.flush()
    total = balance(data).total
    [(rows, distinct)] = query(
        data, "SELECT count(*), count(DISTINCT (meter_id, epoch, seq)) FROM readings"
    ).rows
    [(events, ids)] = query(
        data, "SELECT count(*), count(DISTINCT event_id) FROM voltage_events"
    ).rows
    return {
        "build_status": status,
        "stored": total.stored,
        "lost": total.lost,
        "dead_lettered": total.dead_lettered,
        "copies_taken_out": total.duplicates,
        "duplicated_in_marts": (rows - distinct) + (events - ids),
        "not_in_marts": total.stored - rows,
        "voltage_events": events,
    }


def run_soak(
    folder: Path, *, minutes: float, rate: int, kill_every_s: float, seed: int
) -> dict[str, Any]:
    """Run it all; gives the report."""
    rng = random.Random(seed)
    own = {"AMI_REMOVAL_GRACE_S": str(GRACE_S)}
    with live(folder, own) as platform:
        settings = {
            "AMI_DATA_DIR": str(platform.data.root),
            "AMI_PUBSUB_PORT": platform_variable(platform, "AMI_PUBSUB_PORT"),
            "PYTHONDONTWRITEBYTECODE": "",
            **own,
        }
        subscription = Settings(_env_file=None).subscription_path
        meters = Meters(folder, rate, seed, settings)
        try:
            rows = watch(
                platform,
                meters,
                subscription,
                minutes=minutes,
                kill_every_s=kill_every_s,
                rng=rng,
            )
        finally:
            # SIGTERM: it sends what it holds.
            meters.supervisor.stop_all()
        has_settled = settle(platform.data, subscription)
    ended = judge_readings(platform.data, settings, folder)
    trends = verdict(rows)
    kills = Counter(name for each in rows for name in each["killed"].split(",") if name)
    is_good = (
        has_settled
        and all(each.is_flat for each in trends)
        and not any(ended[name] for name in _NOTHING)
    )
    return {
        "minutes": minutes,
        "rate_per_s": rate,
        "seed": seed,
        "kills": dict(sorted(kills.items())),
        "warm_up_rows": len(rows) - len(warm(rows)),
        "all_was_acknowledged": has_settled,
        "is_good": is_good,
        "readings": ended,
        "trends": [asdict(each) for each in trends],
        "rows": rows,
    }


_NOTHING: Final = (
    *("build_status", "lost", "dead_lettered", "duplicated_in_marts", "not_in_marts"),
)


def platform_variable(platform: LivePlatform, name: str) -> str:
    """A variable of the running platform."""
    return psutil.Process(platform.process.pid).environ()[name]


def summarize(report: Mapping[str, Any]) -> list[str]:
    """The report for people, without its rows."""
    lines = [f"{'figure':28} {'median':>10} {'largest':>10} {'rise/h':>10} {'limit/h':>10}"]
    for each in report["trends"]:
        lines.append(
            f"{each['figure']:28} {each['median']:10.4g} {each['largest']:10.4g} "
            f"{each['rise_per_hour']:10.3g} {each['limit_per_hour']:10.3g}  "
            f"{'flat' if each['is_flat'] else 'RISES'}"
        )
    ended = report["readings"]
    kills = ", ".join(f"{number} {name}" for name, number in report["kills"].items())
    lines.append(f"killed: {kills}")
    lines.append(
        f"{ended['stored']} readings stored, {ended['lost']} lost, "
        f"{ended['duplicated_in_marts']} duplicated in marts, {ended['not_in_marts']} not in marts "
        f"({ended['copies_taken_out']} copies taken out), {ended['voltage_events']} voltage events"
    )
    lines.append(f"{'passed' if report['is_good'] else 'failed'}; seed {report['seed']}")
    return lines


def main(arguments: Sequence[str]) -> int:
    """Run as asked; gives the exit status: 1 when something grows, is lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=2000, help="readings per second")
    parser.add_argument("--kill-every", type=float, default=60, help="seconds; 0: never")
    parser.add_argument("--seed", type=int, help="of meters and victims; default: a random one")
    parser.add_argument("--out", type=Path, default=Path(".cache/soak.json"), help="the report")
    parser.add_argument("--keep", action="store_true", help="keep all that was written")
    asked = parser.parse_args(arguments)
    seed = seed_of(asked.seed)

    def story(folder: Path) -> bool:
        report = run_soak(
            folder,
            minutes=asked.minutes,
            rate=asked.rate,
            kill_every_s=asked.kill_every,
            seed=seed,
        )
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(report, indent=1) + "\n")
        titles = "  ".join(title for _, title, _ in _COLUMNS)
        text = [titles, *(line_of(each) for each in report["rows"]), "", *summarize(report)]
        asked.out.with_suffix(".txt").write_text("\n".join(text) + "\n")
        for line in summarize(report):
            say(line)
        return bool(report["is_good"])

    return tell("soak", seed, story, keep=asked.keep)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
