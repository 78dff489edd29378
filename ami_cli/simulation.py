"""`ami simulate`: reads a simulation config, gives published (or printed) readings."""

from __future__ import annotations

import sys
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ami_cli.subscription import ensure_subscription
from ami_cli.terminal import console, is_interactive, say, stopping_on_signals
from ami_contract.errors import SettingsError
from ami_contract.settings import Settings
from ami_store.registry import merge_registry
from simulator.config import SimulationConfig, load_config
from simulator.fleet import registry_table
from simulator.publisher import Publisher, PubSubPublisher, StdoutPublisher
from simulator.run import Progress as Done
from simulator.run import Summary, simulate

_LOG_EVERY_S = 10.0


@dataclass(frozen=True)
class SimulationOrder:
    """Options of one `ami simulate`."""

    config: Path
    stdout: bool = False
    duration_s: float | None = None
    speed: str = "1"
    start: datetime | None = None
    end: datetime | None = None
    seed: int | None = None
    truth: Path | None = None
    dry_run: bool = False


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if found <= 0:
        raise SettingsError(f"--speed {text!r}: a positive number, or max")
    return found


def _window(order: SimulationOrder, now: datetime) -> tuple[datetime, datetime | None]:
    start = order.start or now.replace(microsecond=0)
    if order.duration_s is not None:
        if order.duration_s <= 0:
            raise SettingsError(f"--duration {order.duration_s:g}: seconds above 0")
        if order.end:
            raise SettingsError("--duration and --to: give one of the two")
        return start, start + timedelta(seconds=order.duration_s)
    return start, order.end


def run_simulation(settings: Settings, order: SimulationOrder) -> Summary | None:
    """Simulate as ordered.

    Raises:
        SettingsError: config or options are wrong; nothing was published.
        TransportError: Pub/Sub is away for too long.
    """
    overrides: dict[str, object] = {} if order.seed is None else {"seed": order.seed}
    config = load_config(order.config, overrides)
    speed = _speed(order.speed)
    start, end = _window(order, datetime.now(UTC))
    fleet = registry_table(config, start)
    topic = config.pubsub_topic or settings.pubsub_topic
    if order.dry_run:
        _describe(
            config, fleet.num_rows, start, end, f"projects/{settings.project_id}/topics/{topic}"
        )
        return None
    if order.stdout:
        publisher: Publisher = StdoutPublisher(sys.stdout.buffer)
    else:
        added = merge_registry(settings.data.registry, fleet)
        if added:
            say(f"registry: {added} meters added to {settings.data.registry}")
        emulator = settings.emulator_host if settings.profile == "local" else None
        ensure_subscription(settings)
        publisher = PubSubPublisher(settings.project_id, topic, emulator)
    with (
        closing(publisher) if isinstance(publisher, PubSubPublisher) else nullcontext(),
        stopping_on_signals() as stop,
        _Reporting(end is not None) as report,
    ):
        summary = simulate(
            config,
            start=start,
            end=end,
            # A live run has no end and follows the wall clock.
            speed=speed,
            publisher=publisher,
            truth_dir=order.truth,
            stop=stop,
            progress=report,
        )
    say(_sentence(summary))
    return summary


def _describe(
    config: SimulationConfig, meters: int, start: datetime, end: datetime | None, topic: str
) -> None:
    until = end.isoformat() if end else "stopped"
    interval_s = config.sample_interval_ms / 1000
    click.echo(
        f"{meters} meters, one reading every {interval_s:g} s, {config.publish_mode} "
        f"{config.payload} messages, from {start.isoformat()} until {until}, to {topic}; "
        "config is valid"
    )


def _sentence(summary: Summary) -> str:
    truth = f"; ground truth in {summary.truth}" if summary.truth else ""
    return (
        f"{summary.generated} readings of {summary.start:%Y-%m-%d %H:%M:%S} … "
        f"{summary.end:%H:%M:%S}Z generated in {summary.elapsed_s:.1f} s: {summary.published} "
        f"sent in {summary.messages} messages ({summary.dropped} dropped on the way, "
        f"{summary.duplicated} sent twice, {summary.malformed} damaged, "
        f"{summary.reordered} out of order; {summary.retried} retries, {summary.failed} messages "
        f"given up){truth}"
    )


class _Reporting:
    """Progress as a bar for a person, as a line every 10 s for a log."""

    def __init__(self, has_end: bool) -> None:
        self._bar = (
            Progress(
                TextColumn("simulating"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[readings]:,} readings"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            if has_end and is_interactive()
            else None
        )
        self._logged_at = time.monotonic()
        self._before = 0

    def __enter__(self) -> _Reporting:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("simulating", total=1.0, readings=0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: Done) -> None:
        if self._bar:
            self._bar.update(self._task, completed=done.share or 0.0, readings=done.generated)
            return
        since = time.monotonic() - self._logged_at
        if since < _LOG_EVERY_S:
            return
        rate = (done.published - self._before) / since
        say(
            f"simulate until={done.simulated_until:%H:%M:%S}Z published={done.published} "
            f"rate={rate:.0f}/s bytes={done.payload_bytes} dropped={done.dropped} "
            f"retried={done.retried} lag_s={done.lag_s:.1f}"
        )
        self._logged_at, self._before = time.monotonic(), done.published
