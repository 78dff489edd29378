"""Reads simulated messages; gives the rate at which the publisher hands them to Pub/Sub.

The messages stand ready in memory; the embedded Pub/Sub is a process of its own with one
subscription, so that it stores what it takes. Beside it, over the same server: the same bytes in
ready-made requests of 3 MB without a client library, and the way of tutorials.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from beam_jobs.elements import Message
from benchmarks.backlog import (
    PROJECT,
    READINGS_PER_MESSAGE,
    TOPIC,
    Backlog,
    LocalPubSub,
    local_pubsub,
    make_backlog,
)
from benchmarks.definition import (
    Benchmark,
    BenchmarkError,
    Context,
    Cost,
    Measurements,
    Metric,
    at_least,
    measured,
)
from benchmarks.peers.tutorial_publish import publish_one_by_one
from simulator.publisher import PubSubPublisher

_READINGS: Final = {"json": 1_000_000, "arrow": 3_000_000, "single": 30_000}
_QUICK_READINGS: Final = {"json": 50_000, "arrow": 50_000, "single": 2_000}
_TUTORIAL_MESSAGES: Final = 1_000
_PULLED: Final = 1_000
_PATIENCE_S: Final = 20.0


def publish_all(endpoint: str, messages: Sequence[Message]) -> None:
    """Publish with the simulator's publisher, until the server has acknowledged everything.

    Raises:
        TransportError: a message was given up.
    """
    publisher = PubSubPublisher(PROJECT, TOPIC, endpoint)
    for message in messages:
        publisher.publish(message)  # type: ignore[arg-type]
    publisher.flush()
    publisher.close()


@contextmanager
def fresh_server(folder: Path) -> Iterator[LocalPubSub]:
    """A server with an empty journal and one subscription."""
    shutil.rmtree(folder, ignore_errors=True)
    with local_pubsub(folder) as server:
        server.source().close()
        yield server


def cost_of_publishing(
    folder: Path, publish: Callable[[LocalPubSub], Any], expected: int
) -> tuple[Cost, float]:
    """What `publish` took here, and the CPU time of a fresh server meanwhile (s).

    Raises:
        BenchmarkError: the server delivers fewer than `expected` messages.
    """
    with fresh_server(folder) as server:
        before_s = server.cpu_s
        _, cost = measured(partial(publish, server))
        server_cpu_s = server.cpu_s - before_s
        waiting = count_waiting(server, expected)
    if waiting != expected:
        raise BenchmarkError(f"{waiting} of {expected} messages wait in the subscription")
    return cost, server_cpu_s


def count_waiting(server: LocalPubSub, expected: int) -> int:
    """Messages that the subscription delivers, acknowledged; it ends at `expected` or when none
    has come for long."""
    source, found = server.source(), 0
    came_s = time.monotonic()
    while found < expected and time.monotonic() < came_s + _PATIENCE_S:
        received = source.pull(_PULLED, 1.0)
        if received:
            source.acknowledge([each.ack_id for each in received])
            found, came_s = found + len(received), time.monotonic()
    source.close()
    return found


def write_synced(payloads: Sequence[bytes], target: Path) -> None:
    """The disk's part: the same bytes in one file, synced."""
    with target.open("wb") as file:
        file.writelines(payloads)
        file.flush()
        os.fsync(file.fileno())


def measure(kind: str, context: Context) -> Measurements:
    """Rate of publishing, and the limits' wall time over ours; all take turns.

    Raises:
        BenchmarkError: a message was lost.
    """
    readings = (_QUICK_READINGS if context.quick else _READINGS)[kind]
    single = kind == "single"
    backlog = make_backlog("json" if single else kind, readings, per_message=1 if single else 500)
    folder = context.work / "pubsub"
    count = len(backlog.messages)
    while True:
        ours, server_cpu_s = cost_of_publishing(
            folder, lambda server: publish_all(server.endpoint, backlog.messages), count
        )
        bare, _ = cost_of_publishing(folder, lambda server: server.publish(backlog.messages), count)
        _, disk = measured(partial(write_synced, backlog.payloads, context.work / "bytes"))
        found = {
            f"publish.{kind}.wall_s": ours.wall_s,
            f"publish.{kind}.cpu_s": ours.cpu_s,
            f"publish.{kind}.server_cpu_s": server_cpu_s,
            f"publish.{kind}.ratio_bare": bare.wall_s / ours.wall_s,
            f"publish.{kind}.ratio_disk": disk.wall_s / ours.wall_s,
            f"publish.{kind}.{_RATES[kind]}": readings / ours.wall_s,
        }
        if single:
            found |= {"publish.single.ratio_tutorial": tutorial_ratio(folder, backlog, ours)}
        yield found


def tutorial_ratio(folder: Path, backlog: Backlog, ours: Cost) -> float:
    """Our rate of single messages over the tutorial's."""
    some = backlog.payloads[:_TUTORIAL_MESSAGES]
    topic = f"projects/{PROJECT}/topics/{TOPIC}"
    theirs, _ = cost_of_publishing(
        folder, lambda server: publish_one_by_one(server.endpoint, topic, some), len(some)
    )
    return (theirs.wall_s / len(some)) / (ours.wall_s / len(backlog.messages))


_RATES: Final = {
    "json": "readings_per_s",
    "arrow": "readings_per_s",
    "single": "messages_per_s",
}
_FORMS: Final = {
    "json": f"JSON messages of {READINGS_PER_MESSAGE}",
    "arrow": f"Arrow messages of {READINGS_PER_MESSAGE}",
    "single": "JSON messages of one reading each",
}
_LEAST: Final = {"json": 250_000, "arrow": 700_000, "single": 2_000}


def _benchmark(kind: str) -> Benchmark:
    metrics = [
        Metric(
            f"publish.{kind}.{_RATES[kind]}",
            _RATES[kind].replace("_per_s", "/s"),
            at_least(_LEAST[kind]),
            f"{_READINGS[kind]:,} readings in {_FORMS[kind]} through the simulator's publisher "
            "(Google's client) into the embedded Pub/Sub until all are acknowledged, which is when "
            "they are on disk; per second of wall time.",
        ),
        Metric(
            f"publish.{kind}.ratio_bare",
            "ratio",
            at_least(0.4) if kind != "single" else None,
            "wall time of the same messages in ready-made requests of up to 3 MB, one after the "
            "other without Google's client, over the publisher's: what the server can take.",
        ),
        Metric(
            f"publish.{kind}.ratio_disk",
            "ratio",
            None,
            "wall time of writing and syncing the same bytes as one file, over the publisher's.",
        ),
        Metric(f"publish.{kind}.wall_s", "s", None, "wall time of publishing them."),
        Metric(f"publish.{kind}.cpu_s", "s", None, "CPU time of the publishing process."),
        Metric(f"publish.{kind}.server_cpu_s", "s", None, "CPU time of the server meanwhile."),
    ]
    if kind == "single":
        metrics.append(
            Metric(
                "publish.single.ratio_tutorial",
                "ratio",
                at_least(3),
                "rate of the publisher over that of a loop that awaits every message, as tutorials "
                f"write it (`benchmarks/peers/tutorial_publish.py`, {_TUTORIAL_MESSAGES:,} "
                "messages), same server.",
            )
        )
    return Benchmark(tuple(metrics), runs=3, measure=partial(measure, kind))


JSON: Final = _benchmark("json")
ARROW: Final = _benchmark("arrow")
SINGLE: Final = _benchmark("single")
