"""`ami simulate`: reads a simulation config, gives readings: published, printed or as history."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ami_cli.history import FORMS, HistoryPublisher, history_key
from ami_cli.ingestion import payload_bounds
from ami_cli.subscription import ensure_subscription
from ami_cli.terminal import console, is_interactive, say, stopping_on_signals
from ami_contract.errors import SettingsError
from ami_contract.lake import DataDir
from ami_contract.settings import Settings
from ami_store.registry import merge_registry
from simulator.config import SimulationConfig, load_config
from simulator.fleet import registry_table
from simulator.forward import StoreAndForward
from simulator.plot import check_target, day_before, day_view, write_plot
from simulator.publisher import Publisher, PubSubPublisher, StdoutPublisher
from simulator.run import Progress as Done
from simulator.run import Summary, simulate
from simulator.spool import Spool, orphans

_LOG_EVERY_S = 10.0
_CLIENT_PATIENCE_S = 15.0
_LONGEST_PLOT = timedelta(days=7)


@dataclass(frozen=True)
class SimulationOrder:
    """Options of one `ami simulate`; None stands for an option that was not given."""

    config: Path
    stdout: bool = False
    duration_s: float | None = None
    speed: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    poles: int | None = None
    meters: int | None = None
    seed: int | None = None
    truth: Path | None = None
    out: Path | None = None
    out_form: str | None = None
    spool: Path | None = None
    plot: Path | None = None
    dry_run: bool = False


def _speed(text: str | None) -> float | None:
    if text is None:
        return 1.0
    if text == "max":
        return None
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise SettingsError(f"--speed {text!r}: a positive number, or max")
    return found


def _window(order: SimulationOrder, now: datetime) -> tuple[datetime, datetime | None]:
    start = order.start or now.replace(microsecond=0)
    if order.duration_s is not None:
        if not 0 < order.duration_s < 1e9:
            raise SettingsError(f"--duration {order.duration_s:g}: seconds above 0")
        if order.end:
            raise SettingsError("--duration and --to: give one of the two")
        return start, start + timedelta(seconds=order.duration_s)
    if order.end and order.end <= start:
        raise SettingsError(f"--to {order.end.isoformat()}: later than {start.isoformat()}")
    return start, order.end


def _check_options(order: SimulationOrder) -> None:
    """Raise SettingsError for options that say nothing together."""
    kinds = {"--stdout": order.stdout, "--out": order.out, "--plot": order.plot}
    given = [name for name, value in kinds.items() if value]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)}: give one of them")
    if order.spool and given:
        raise SettingsError(f"--spool: not with {given[0]}, which publishes nothing")
    if order.out_form is not None:
        if order.out is None:
            raise SettingsError(f"--out-form {order.out_form}: only with --out")
        if order.out_form not in FORMS:
            raise SettingsError(f"--out-form {order.out_form!r}: {' or '.join(FORMS)}")
    if order.out:
        if order.start is None or (order.end is None and order.duration_s is None):
            raise SettingsError(f"--out {order.out}: needs --from and --to (or --duration)")
        if order.speed not in (None, "max"):
            raise SettingsError(f"--speed {order.speed}: not with --out, which is always max")
        if order.out.exists() and not order.out.is_dir():
            raise SettingsError(f"--out {order.out}: is a file; give a folder")
    if order.plot:
        for name, value in (("--speed", order.speed), ("--truth", order.truth)):
            if value is not None:
                raise SettingsError(f"{name} {value}: not with --plot")
        check_target(order.plot)


def run_simulation(settings: Settings, order: SimulationOrder) -> Summary | None:
    """Simulate as ordered.

    Returns:
        Counts of the run; None for a plot or a dry run.

    Raises:
        SettingsError: config or options are wrong; nothing was published.
        TransportError: Pub/Sub is away for too long.
        LakeError: spool, truth, history or plot cannot be written.
    """
    _check_options(order)
    overrides = {
        name: value
        for name, value in (("seed", order.seed), ("poles", order.poles), ("meters", order.meters))
        if value is not None
    }
    config = load_config(order.config, overrides)
    speed = _speed(order.speed)
    now = datetime.now(UTC)
    if order.plot and not order.dry_run:
        _plot(config, order, now)
        return None
    start, end = _window(order, now)
    if start < config.seq_origin:
        raise SettingsError(
            f"--from {start.isoformat()}: not before seq_origin ({config.seq_origin.isoformat()})"
        )
    fleet = registry_table(config, start)
    topic = config.pubsub_topic or settings.pubsub_topic
    if order.dry_run:
        target = f"projects/{settings.project_id}/topics/{topic}"
        if order.out:
            target = f"{order.out} ({order.out_form or FORMS[0]} form)"
        _describe(config, fleet.num_rows, start, end, target)
        return None
    with stopping_on_signals() as stop, ExitStack() as resources:
        publisher: Publisher
        if order.stdout:
            publisher = StdoutPublisher(sys.stdout.buffer)
        elif order.out:
            assert end is not None
            data = DataDir(order.out.absolute())
            merge_registry(data.registry, fleet)
            publisher = HistoryPublisher(
                data,
                "archive" if order.out_form == "archive" else "lake",
                history_key(config, start, end),
                payload_bounds(settings),
            )
        else:
            added = merge_registry(settings.data.registry, fleet)
            if added:
                say(f"registry: {added} meters added to {settings.data.registry}")
            publisher = _forwarding(settings, order, config, start, topic, stop, speed, resources)
        resumes_at_us = publisher.resumes_at_us if isinstance(publisher, StoreAndForward) else None
        with _Reporting(end is not None) as report:
            summary = simulate(
                config,
                start=start,
                end=end,
                # A live run has no end and follows the wall clock.
                speed=None if order.out else speed,
                publisher=publisher,
                truth_dir=order.truth,
                overflow=publisher.overflow if isinstance(publisher, StoreAndForward) else tuple,
                resumes_at=datetime.fromtimestamp(resumes_at_us / 1e6, UTC)
                if resumes_at_us
                else None,
                stop=stop,
                progress=report,
            )
    if isinstance(publisher, HistoryPublisher):
        what = "rows landed" if order.out_form != "archive" else "messages archived"
        say(
            f"{publisher.stored} {what}, {publisher.refused} dead letters, registry of "
            f"{fleet.num_rows} meters in {order.out}"
        )
    say(_sentence(summary))
    return summary


def _forwarding(
    settings: Settings,
    order: SimulationOrder,
    config: SimulationConfig,
    start: datetime,
    topic: str,
    stop: threading.Event,
    speed: float | None,
    resources: ExitStack,
) -> StoreAndForward:
    """Publisher to Pub/Sub with the spool of this run, which `resources` closes."""
    emulator = settings.emulator_host if settings.profile == "local" else None
    ensure_subscription(settings)
    # Patience lies with the spool; the client gives a message back after a short while.
    pubsub = PubSubPublisher(
        settings.project_id, topic, emulator, give_up_after_s=_CLIENT_PATIENCE_S
    )
    resources.callback(pubsub.close)
    root = (order.spool or settings.data.spool) / f"{settings.project_id}.{topic}"
    spool = Spool(
        root / f"{config.digest()}-{start:%Y%m%dT%H%M%SZ}",
        max_bytes=round(config.spool_max_mb * 1_000_000),
        # At full speed a day of readings passes while Pub/Sub is away for seconds.
        max_age_s=None if speed is None else config.spool_max_s,
    )
    inherited = orphans(spool.folder)
    waiting = spool.readings + sum(old.readings for old in inherited)
    if waiting:
        say(f"spool: {waiting} readings of an earlier run are sent first")
    is_live = speed == 1.0 and order.end is None and order.duration_s is None
    forward = StoreAndForward(
        pubsub,
        spool,
        inherited,
        waits_when_full=speed is None,
        # A live run makes what lies in the past as fast as it goes.
        waits_when_late=is_live,
        stop=stop,
    )
    resources.callback(forward.close)
    return forward


def _plot(config: SimulationConfig, order: SimulationOrder, now: datetime) -> None:
    assert order.plot is not None
    start, end = order.start, order.end
    if start is None:
        start, end = day_before(end or now, config.time_zone)
    if order.duration_s is not None or (order.start and end):
        start, end = _window(replace(order, start=start), now)
    end = end or start + timedelta(days=1)
    if end - start > _LONGEST_PLOT:
        raise SettingsError(f"--plot: at most {_LONGEST_PLOT.days} days, not {end - start}")
    with Progress(
        TextColumn("simulating"),
        BarColumn(),
        console=console,
        transient=True,
        disable=not is_interactive(),
    ) as bar:
        task = bar.add_task("simulating", total=1.0)
        view = day_view(
            config, start, end, progress=lambda share: bar.update(task, completed=share)
        )
    write_plot(view, order.plot)
    say(f"pole {view.pole_id}, {start.isoformat()} … {end.isoformat()}, drawn in {order.plot}")


def _describe(
    config: SimulationConfig, meters: int, start: datetime, end: datetime | None, target: str
) -> None:
    until = end.isoformat() if end else "stopped"
    interval_s = config.sample_interval_ms / 1000
    click.echo(
        f"{meters} meters, one reading every {interval_s:g} s, {config.publish_mode} "
        f"{config.payload} messages, from {start.isoformat()} until {until}, to {target}; "
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
        f"given up){_left_behind(summary)}{truth}"
    )


def _left_behind(summary: Summary) -> str:
    text = ""
    if summary.overflowed:
        text += f"; {summary.overflowed} dropped because the spool was full"
    if summary.spooled:
        text += f"; {summary.spooled} wait in the spool: start the same command again to send them"
    return text


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
        self._before = self._bytes_before = 0

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
        bytes_rate = (done.payload_bytes - self._bytes_before) / since
        say(
            f"simulate until={done.simulated_until:%H:%M:%S}Z published={done.published} "
            f"rate={rate:.0f}/s bytes={bytes_rate:.0f}/s dropped={done.dropped + done.overflowed} "
            f"retried={done.retried} spooled={done.spooled} lag_s={done.lag_s:.1f}"
        )
        self._logged_at = time.monotonic()
        self._before, self._bytes_before = done.published, done.payload_bytes
