"""Reads a configuration and a time window; drives meters, gateways, publisher and truth.

One loop for history and live: windows are processed when their time has come on the simulated
clock, messages leave when the backhaul's schedule says so, and the order of both is the same at
every speed.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ami_contract.errors import SettingsError
from simulator.config import NETWORK_LATENCY_MS, SimulationConfig
from simulator.fleet import build_fleet
from simulator.gateway import Gateway, Message
from simulator.meters import PoleMeters
from simulator.publisher import Publisher
from simulator.truth import PoleTruth, Totals, sum_totals, write_truth

LONGEST_PAUSE_S: Final = 0.2
"""A stop is noticed within this time (s)."""

SHORTEST_PAUSE_S: Final = 0.005
PROGRESS_EVERY_S: Final = 0.5


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        simulated_until: time up to which samples were generated (UTC).
        share: part of the window that is done, 0 to 1; None without an end.
        generated, dropped: readings.
        published: reading copies that left the gateways.
        messages: messages handed to the publisher.
        payload_bytes: bytes of those messages.
        retried: attempts of the publisher that failed and were made again.
        spooled: reading copies that wait on the gateways' disk.
        overflowed: reading copies dropped because it was full.
        elapsed_s: since the run began (s).
        lag_s: how far generation (0 at maximum speed) or the spool is behind (s).
    """

    simulated_until: datetime
    share: float | None
    generated: int
    dropped: int
    published: int
    messages: int
    payload_bytes: int
    retried: int
    spooled: int
    overflowed: int
    elapsed_s: float
    lag_s: float


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        start, end: window that was simulated, end exclusive (UTC).
        generated: readings taken by the meters.
        dropped, duplicated, reordered, malformed: of these, by fault.
        published: reading copies that left the gateways.
        spooled: reading copies that wait on the gateways' disk.
        overflowed: reading copies dropped because it was full. Always
            published + spooled + overflowed = generated - dropped + duplicated.
        messages, payload_bytes: that carried them.
        retried: attempts of the publisher that failed and were made again.
        failed: messages that the publisher gave up.
        elapsed_s: wall time (s).
        stopped_early: whether the stop came before the end.
        truth: folder of the ground truth, if asked for.
    """

    start: datetime
    end: datetime
    generated: int
    published: int
    spooled: int
    overflowed: int
    dropped: int
    duplicated: int
    reordered: int
    malformed: int
    messages: int
    payload_bytes: int
    retried: int
    failed: int
    elapsed_s: float
    stopped_early: bool
    truth: Path | None


@dataclass(frozen=True)
class Window:
    """A gateway window, cut to the run.

    Attributes:
        number: since `seq_origin`.
        first_tick, end_tick: samples in it; may be none.
        ready_ms: when its samples can be processed and its messages leave (ms since 1970).
    """

    number: int
    first_tick: int
    end_tick: int
    ready_ms: int


def windows(config: SimulationConfig, start_ms: int, end_ms: int | None) -> Iterator[Window]:
    """Windows that meet [start_ms, end_ms), rising; without an end for ever."""
    origin_ms, length_ms = config.seq_origin_ms, config.batch_interval_ms
    number = (start_ms - origin_ms) // length_ms
    while True:
        opens_ms = origin_ms + number * length_ms
        closes_ms = opens_ms + length_ms
        if end_ms is not None:
            if opens_ms >= end_ms:
                return
            closes_ms = min(closes_ms, end_ms)
        opens_ms = max(opens_ms, start_ms)
        # A single reading leaves as soon as it is taken; a batch when its window closes.
        first_tick, end_tick = _tick(config, opens_ms), _tick(config, closes_ms)
        is_single = config.publish_mode == "single"
        ready_ms = _tick_ms(config, first_tick) if is_single else closes_ms
        yield Window(number, first_tick, end_tick, ready_ms)
        number += 1


def _tick(config: SimulationConfig, t_ms: int) -> int:
    """First sample at or after `t_ms`."""
    return -((config.seq_origin_ms - t_ms) // config.sample_interval_ms)


def _tick_ms(config: SimulationConfig, tick: int) -> int:
    """Time of a sample (ms since 1970)."""
    return config.seq_origin_ms + tick * config.sample_interval_ms


class _SimulatedClock:
    """Maps the wall clock to simulated time (ms since 1970).

    Args:
        clock: wall clock (s since 1970).
        start_ms: where simulated time begins.
        speed: simulated seconds per second; None: as fast as possible.
        is_live: simulated time is the wall clock itself.
        ahead_ms: how much of it is over at the beginning.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        start_ms: int,
        speed: float | None,
        is_live: bool,
        ahead_ms: float = 0.0,
    ) -> None:
        self._clock = clock
        self._begun_s = clock()
        self._start_ms = start_ms + ahead_ms
        self._speed = speed
        self._is_live = is_live
        self.is_unbound = speed is None and not is_live

    def now_ms(self) -> float:
        """Simulated time now."""
        if self._is_live:
            return self._clock() * 1000
        return self._start_ms + (self._clock() - self._begun_s) * 1000 * (self._speed or 1.0)

    def wall_s(self, duration_ms: float) -> float:
        """Wall time that `duration_ms` of simulated time takes (s)."""
        return duration_ms / 1000 / (1.0 if self._is_live else self._speed or 1.0)


class _Run:
    """State of one run; see `simulate`."""

    def __init__(
        self,
        config: SimulationConfig,
        publisher: Publisher,
        start_ms: int,
        end_ms: int | None,
        clock: _SimulatedClock,
        *,
        keeps_truth: bool,
    ) -> None:
        self.config = config
        self.publisher = publisher
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.clock = clock
        self.poles = [PoleMeters(config, pole) for pole in build_fleet(config).poles]
        self.gateways = [Gateway(config, meters.pole) for meters in self.poles]
        self.truths = [
            PoleTruth(config, meters, keeps_details=keeps_truth) for meters in self.poles
        ]
        self.reached_ms = start_ms
        self.window_number = (start_ms - config.seq_origin_ms) // config.batch_interval_ms
        self.published = self.messages = self.payload_bytes = 0
        self._counts_from_us = 0
        self._queue: list[tuple[int, int, int, Message]] = []
        self._queued = 0

    def count_from(self, t_us: int) -> None:
        """Count only what is generated and due after `t_us` (µs since 1970), and what waits now."""
        self._counts_from_us = t_us
        counters = self.publisher.counters()
        self.published = counters.spooled + counters.overflowed

    def process(self, window: Window) -> None:
        """Generate the window's samples and queue its messages."""
        taken_ms = _tick_ms(self.config, window.end_tick - 1)
        for index, meters in enumerate(self.poles):
            samples = meters.samples(window.first_tick, window.end_tick)
            if window.ready_ms * 1000 > self._counts_from_us:
                self.truths[index].add(samples, window.first_tick, window.end_tick)
            self._enqueue(
                index,
                self.gateways[index].window(window.number, samples, taken_ms, window.ready_ms),
            )
        self.window_number = window.number

    def flush_gateways(self, closed_ms: int) -> None:
        """Queue what the gateways still hold."""
        for index, gateway in enumerate(self.gateways):
            self._enqueue(index, gateway.flush(self.window_number + 1, closed_ms))

    def _enqueue(self, pole_index: int, messages: list[Message]) -> None:
        for message in messages:
            heapq.heappush(self._queue, (message.due_us, pole_index, self._queued, message))
            self._queued += 1

    def next_due_ms(self) -> float | None:
        """When the next queued message is due (ms since 1970)."""
        return self._queue[0][0] / 1000 if self._queue else None

    def publish_due(self, until_ms: float | None) -> None:
        """Hand over every queued message due before `until_ms` (None: all), in due order."""
        limit_us = None if until_ms is None else until_ms * 1000
        while self._queue and (limit_us is None or self._queue[0][0] < limit_us):
            *_, message = heapq.heappop(self._queue)
            self.publisher.publish(message)
            if message.due_us <= self._counts_from_us:
                continue
            self.published += message.readings
            self.messages += 1
            self.payload_bytes += len(message.data)

    def totals(self) -> Totals:
        """Readings so far."""
        return sum_totals(truth.totals() for truth in self.truths)


def simulate(
    config: SimulationConfig,
    *,
    start: datetime,
    end: datetime | None,
    speed: float | None,
    publisher: Publisher,
    truth_dir: Path | None = None,
    overflow: Callable[[], Iterable[Sequence[str]]] = tuple,
    resumes_at: datetime | None = None,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Simulate [start, end) and publish it.

    Args:
        config: what to simulate.
        start: first moment (with zone), not before `seq_origin`; "now" cut to a second for live.
        end: first moment after the run; None: live, on the wall clock, until `stop`. A live run
            first catches up from `start` at full speed.
        speed: simulated seconds per second; None: as fast as possible, up to the wall clock in
            a live run.
        publisher: where messages go.
        truth_dir: holds one folder per run, see `truth`; None: none is written.
        overflow: (meter_id, seq, event_ts) of readings that the publisher dropped, for the truth.
        resumes_at: up to here the run was published before. A run without end and without truth
            is taken up shortly before, and its counts are those of what it does from there; any
            other is gone through from its start, without waiting.
        stop: when set, the run ends at once with what was generated, delivered whole.
        clock: wall clock (s since 1970).
        sleep: pauses for some seconds.
        progress: called about twice a second.

    Returns:
        Counts over the run; `truth` describes exactly what was generated.

    Raises:
        SettingsError: the window is empty, lies before `seq_origin`, or `speed` is not positive.
        TransportError: messages could not be published; the truth is written nevertheless.
        LakeError: the truth cannot be written.
    """
    start_ms = _checked_ms(start, "start")
    end_ms = None if end is None else _checked_ms(end, "end")
    if start_ms < config.seq_origin_ms:
        raise SettingsError(
            f"start = {start.isoformat()}: not before seq_origin "
            f"({config.seq_origin.isoformat()}); set an earlier seq_origin"
        )
    if end_ms is not None and end_ms <= start_ms:
        raise SettingsError(f"end = {end}: later than start ({start})")
    if speed is not None and not speed > 0:
        raise SettingsError(f"speed = {speed}: a positive number, or none for full speed")
    stop = stop or threading.Event()
    begun_s = clock()
    is_live = end_ms is None and speed in (None, 1.0)
    resumes_us = None if resumes_at is None else round(resumes_at.timestamp() * 1e6)
    ahead_ms = 0.0 if resumes_us is None else max(0.0, resumes_us / 1000 - start_ms)
    simulated = _SimulatedClock(clock, start_ms, speed, is_live, ahead_ms)
    is_taken_up = resumes_us is not None and end_ms is None and truth_dir is None
    from_ms = _taken_up_ms(config, start_ms, ahead_ms) if is_taken_up else start_ms
    run = _Run(config, publisher, from_ms, end_ms, simulated, keeps_truth=truth_dir is not None)
    if is_taken_up and resumes_us is not None:
        run.count_from(resumes_us)
    report = _Reporter(run, progress, clock, begun_s)
    truth: Path | None = None
    handed_over = False
    try:
        stopped_early = _drive(run, stop, sleep, report)
        run.publish_due(None)
        publisher.flush()
        handed_over = not publisher.counters().spooled
    finally:
        if truth_dir is not None:
            truth = write_truth(
                truth_dir,
                config,
                run.truths,
                start_ms=start_ms,
                end_ms=run.reached_ms,
                complete=handed_over,
                overflow=overflow(),
            )
    report(force=True)
    totals, counters = run.totals(), publisher.counters()
    return Summary(
        start=_utc(run.start_ms),
        end=_utc(run.reached_ms),
        generated=totals.generated,
        published=run.published - counters.spooled - counters.overflowed,
        spooled=counters.spooled,
        overflowed=counters.overflowed,
        dropped=totals.dropped,
        duplicated=totals.duplicated,
        reordered=totals.reordered,
        malformed=totals.malformed,
        messages=run.messages,
        payload_bytes=run.payload_bytes,
        retried=counters.retried,
        failed=counters.failed,
        elapsed_s=clock() - begun_s,
        stopped_early=stopped_early,
        truth=truth,
    )


def _taken_up_ms(config: SimulationConfig, start_ms: int, ahead_ms: float) -> int:
    """Where to take up a run so that all it had not published is made as before (ms since 1970).

    The messages of a window are due at most the longest backhaul delay after it closes, and hold
    readings of at most `reorder_max_batches` windows before it.
    """
    latency_ms = max(NETWORK_LATENCY_MS[profile][1] for profile in config.network_profile)
    longest_ms = latency_ms + config.jitter_ms_range[1]
    open_ms = start_ms + ahead_ms - longest_ms - config.seq_origin_ms
    window = int(open_ms // config.batch_interval_ms) - config.reorder_max_batches - 2
    return max(start_ms, config.seq_origin_ms + window * config.batch_interval_ms)


def _drive(
    run: _Run, stop: threading.Event, sleep: Callable[[float], object], report: _Reporter
) -> bool:
    """Process windows until the end or the stop; returns whether it was stopped."""
    clock = run.clock
    window_end_ms = run.start_ms
    for window in windows(run.config, run.start_ms, run.end_ms):
        # Nothing that this or a later window makes can be due before the window is ready.
        while not clock.is_unbound and not stop.is_set():
            now_ms = clock.now_ms()
            run.publish_due(min(now_ms, window.ready_ms))
            report()
            if now_ms >= window.ready_ms:
                break
            due_ms = run.next_due_ms()
            wake_ms = window.ready_ms if due_ms is None else min(due_ms, window.ready_ms)
            pause_s = clock.wall_s(wake_ms - now_ms)
            sleep(min(max(pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S))
        if stop.is_set():
            _finish_early(run, window, window_end_ms)
            return True
        run.publish_due(window.ready_ms)
        run.process(window)
        window_end_ms = _window_end_ms(run.config, window, run.end_ms)
        run.reached_ms = window_end_ms
        report()
    _close(run, stop, sleep)
    return False


def _close(run: _Run, stop: threading.Event, sleep: Callable[[float], object]) -> None:
    """Deliver what is under way after the last window, at its time."""
    clock = run.clock
    run.flush_gateways(run.reached_ms)
    while not clock.is_unbound and not stop.is_set():
        due_ms = run.next_due_ms()
        if due_ms is None:
            return
        now_ms = clock.now_ms()
        run.publish_due(now_ms)
        pause_s = clock.wall_s(due_ms - now_ms)
        sleep(min(max(pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S))


def _finish_early(run: _Run, window: Window, reached_ms: int) -> None:
    """Process the part of `window` whose time has come, and let the gateways send all they hold."""
    clock, config = run.clock, run.config
    if not clock.is_unbound:
        now_ms = int(clock.now_ms())
        end_tick = min(window.end_tick, _tick(config, now_ms))
        if end_tick > window.first_tick:
            reached_ms = min(_tick_ms(config, end_tick), now_ms)
            run.process(Window(window.number, window.first_tick, end_tick, reached_ms))
        else:
            # A single reading goes out as its window opens; the rest of that window is not run.
            reached_ms = max(run.start_ms, min(reached_ms, now_ms + 1))
    run.reached_ms = reached_ms
    run.flush_gateways(reached_ms)


def _window_end_ms(config: SimulationConfig, window: Window, end_ms: int | None) -> int:
    closes_ms = config.seq_origin_ms + (window.number + 1) * config.batch_interval_ms
    return closes_ms if end_ms is None else min(closes_ms, end_ms)


class _Reporter:
    """Calls `progress` about twice a second of wall time."""

    def __init__(
        self,
        run: _Run,
        progress: Callable[[Progress], None] | None,
        clock: Callable[[], float],
        begun_s: float,
    ) -> None:
        self._run = run
        self._progress = progress
        self._clock = clock
        self._begun_s = begun_s
        self._last_s = begun_s

    def __call__(self, *, force: bool = False) -> None:
        if self._progress is None:
            return
        now_s = self._clock()
        if not force and now_s - self._last_s < PROGRESS_EVERY_S:
            return
        self._last_s = now_s
        run = self._run
        totals = run.totals()
        share = None
        if run.end_ms is not None:
            share = (run.reached_ms - run.start_ms) / (run.end_ms - run.start_ms)
        counters = run.publisher.counters()
        lag_ms = 0.0
        if not run.clock.is_unbound:
            lag_ms = run.clock.now_ms() - run.reached_ms - run.config.batch_interval_ms
        self._progress(
            Progress(
                simulated_until=_utc(run.reached_ms),
                share=share,
                generated=totals.generated,
                dropped=totals.dropped,
                published=run.published - counters.spooled - counters.overflowed,
                messages=run.messages,
                payload_bytes=run.payload_bytes,
                retried=counters.retried,
                spooled=counters.spooled,
                overflowed=counters.overflowed,
                elapsed_s=now_s - self._begun_s,
                lag_s=max(0.0, lag_ms / 1000, counters.lag_s),
            )
        )


def _checked_ms(instant: datetime, name: str) -> int:
    if instant.tzinfo is None:
        raise SettingsError(f"{name} = {instant.isoformat()}: a time with a zone, such as …Z")
    return round(instant.timestamp() * 1000)


def _utc(t_ms: int) -> datetime:
    return datetime.fromtimestamp(t_ms / 1000, UTC)
