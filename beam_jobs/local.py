"""The local ingest: reads a subscription in micro-batches, gives stored readings, acks last.

    pull → bounded Beam run → every file durable → acknowledge

Killed anywhere, it loses nothing: what was not acknowledged comes again, and a copy that had
already been stored is dropped by compaction.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import uuid4

from ami_contract.errors import AmiError, ReadingRejected, RejectionCode
from ami_contract.lake import DataDir
from beam_jobs.allocator import keep_freed_memory
from beam_jobs.bounded import BoundedGraph, Distribution, RunMetrics
from beam_jobs.decode import PayloadBounds
from beam_jobs.decode_parts import refuse_payload
from beam_jobs.elements import MessageBatch
from beam_jobs.intake import Intake, Limits
from beam_jobs.pipeline import Ingest
from beam_jobs.sinks import write_deadletter
from beam_jobs.source import Received, Source

log = logging.getLogger("ami.ingest")

_LOOK_S: Final = 0.2
_LONGEST_RETRY_S: Final = 10.0


@dataclass
class Totals:
    """What an ingest has done so far.

    Attributes:
        batches: micro-batches stored and acknowledged.
        counters: sums of the graph's counters (`messages`, `stored`, `refused.<code>`, …).
        distributions: the graph's distributions (`latency_event_ms`, …) over all batches.
        last_batch_s: duration of the batch that ended last, from its begin to its
            acknowledgement (s).
        problem: why nothing can be stored at present; empty when all is well.
    """

    batches: int = 0
    counters: Counter[str] = field(default_factory=Counter)
    distributions: dict[str, Distribution] = field(default_factory=dict)
    last_batch_s: float = 0.0
    problem: str = ""

    @property
    def refused(self) -> int:
        """Readings and payloads in the dead letter."""
        return sum(n for name, n in self.counters.items() if name.startswith("refused."))

    def add(self, metrics: RunMetrics) -> None:
        """Take in what a run has done."""
        self.counters.update(metrics.counters)
        for name, found in metrics.distributions.items():
            known = self.distributions.get(name)
            self.distributions[name] = known + found if known else found


def segment_name(ingest_ts: datetime) -> str:
    """A name no other batch has, that sorts by time."""
    return f"{ingest_ts:%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}"


class LocalStore:
    """The graph with its local sinks, run batch by batch.

    Args:
        data: where to store.
        bounds: a larger payload is refused.
    """

    def __init__(self, data: DataDir, bounds: PayloadBounds) -> None:
        self._data = data
        self._graph = BoundedGraph(Ingest(data.root, bounds))

    def store(self, batch: MessageBatch) -> RunMetrics:
        """Run a batch through the graph; all its files are durable on return.

        A batch on which a step fails for a reason that is not the lake's is halved until the
        message at fault stands alone; that one goes to the dead letter as `processing_failed`.

        Args:
            batch: to store; storing it again changes nothing.

        Raises:
            AmiError: the lake cannot be written; nothing may be acknowledged.
        """
        totals = Totals()
        self._store(batch, totals)
        return RunMetrics(totals.counters, totals.distributions)

    def _store(self, batch: MessageBatch, totals: Totals) -> None:
        try:
            totals.add(self._graph.run([batch]))
        except AmiError:
            raise
        except Exception as error:
            if len(batch.messages) == 1:
                totals.add(self._refuse(batch, error))
                return
            log.warning("batch %s failed (%s); halving it", batch.segment, error)
        else:
            return
        middle = len(batch.messages) // 2
        for number, messages in enumerate((batch.messages[:middle], batch.messages[middle:])):
            part = MessageBatch(f"{batch.segment}-{number}", batch.ingest_ts, messages)
            self._store(part, totals)

    def _refuse(self, batch: MessageBatch, error: Exception) -> RunMetrics:
        code = RejectionCode.PROCESSING_FAILED
        reason = ReadingRejected(code, None, f"{type(error).__name__}: {error}")
        write_deadletter(self._data, batch, [refuse_payload(0, batch.messages[0].data, reason)])
        return RunMetrics({"messages": 1, f"refused.{code}": 1})


def ingest(
    data: DataDir,
    source: Source,
    limits: Limits,
    bounds: PayloadBounds,
    *,
    stop: threading.Event,
    now: Callable[[], datetime],
    clock: Callable[[], float],
    workers: int = 1,
    idle_timeout_s: float | None = None,
    report: Callable[[Totals], None] = lambda totals: None,
) -> Totals:
    """Ingest until `stop` is set or nothing has come for `idle_timeout_s`.

    From then on this process keeps freed memory (`keep_freed_memory`).

    While Pub/Sub is away, or the lake cannot be written, the loop says so, waits and tries again;
    what it holds stays leased and unacknowledged.

    Args:
        data: where to store.
        source: where the messages come from.
        limits: bounds of a micro-batch.
        bounds: a larger payload is refused.
        stop: ends the loop after the batch in hand.
        now: wall clock (`ingest_ts`).
        clock: monotonic seconds.
        workers: micro-batches handled side by side.
        idle_timeout_s: None: never ends by itself.
        report: called after every batch, and when `Totals.problem` changes.

    Returns:
        What was done.

    Raises:
        AmiError: the lake cannot be written and `idle_timeout_s` is given: a run that is meant to
            end does not wait. Nothing of the batch in hand was acknowledged.
    """
    keep_freed_memory()
    totals = Totals()
    lock = threading.Lock()
    failed = threading.Event()

    def work(intake: Intake) -> None:
        lake = LocalStore(data, bounds)
        try:
            while not (stop.is_set() or failed.is_set()):
                received = intake.take(_LOOK_S)
                if received:
                    _handle(received, intake, lake)
                elif idle_timeout_s is not None and intake.idle_s >= idle_timeout_s:
                    break
        except BaseException:
            failed.set()
            raise

    def _handle(received: list[Received], intake: Intake, lake: LocalStore) -> None:
        begun_s, ingest_ts = clock(), now()
        batch = MessageBatch(
            segment_name(ingest_ts), ingest_ts, [item.message for item in received]
        )
        ack_ids = [item.ack_id for item in received]
        done: RunMetrics | None = None
        try:
            done = _store_patiently(lake, batch, stop, tell, patient=idle_timeout_s is None)
        finally:
            if done is None:
                intake.give_back(ack_ids)
        if done is not None:
            intake.settle(ack_ids)
            with lock:
                totals.batches += 1
                totals.add(done)
                totals.last_batch_s = clock() - begun_s
                totals.problem = ""
                report(totals)

    def tell(problem: str) -> None:
        with lock:
            totals.problem = problem
            report(totals)

    with Intake(source, limits, clock) as intake, ThreadPoolExecutor(workers) as pool:
        for worker in [pool.submit(work, intake) for _ in range(workers)]:
            worker.result()
    return totals


def _store_patiently(
    lake: LocalStore,
    batch: MessageBatch,
    stop: threading.Event,
    tell: Callable[[str], None],
    *,
    patient: bool,
) -> RunMetrics | None:
    """Store a batch, again and again while the lake cannot be written; None: stopped before."""
    retry_s = 0.5
    while True:
        try:
            return lake.store(batch)
        except AmiError as error:
            if not patient:
                raise
            problem = str(error)
            log.error("%s. Nothing was acknowledged; trying again in %.1f s", problem, retry_s)
        tell(problem)
        if stop.wait(retry_s):
            return None
        retry_s = min(2 * retry_s, _LONGEST_RETRY_S)
