"""What a benchmark is: reads nothing, gives the value types that the suite is written in."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from ami_contract.errors import AmiError

T = TypeVar("T")


class BenchmarkError(AmiError):
    """A benchmark could not be measured, or what it measured did wrong work."""


class Direction(StrEnum):
    """Which side of a target is good."""

    AT_LEAST = "at_least"
    AT_MOST = "at_most"


@dataclass(frozen=True)
class Target:
    """What a figure should reach.

    Attributes:
        direction: which side of `value` is good.
        value: in the metric's unit.
    """

    direction: Direction
    value: float

    def is_met(self, measured: float) -> bool:
        """Whether `measured` reaches the target; equality does."""
        if self.direction is Direction.AT_LEAST:
            return measured >= self.value
        return measured <= self.value


def at_least(value: float) -> Target:
    """Target that `value` or more meets."""
    return Target(Direction.AT_LEAST, value)


def at_most(value: float) -> Target:
    """Target that `value` or less meets."""
    return Target(Direction.AT_MOST, value)


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        id: dotted name, `subject.variant.quantity_unit`.
        unit: of its values; `ratio` where there is none.
        target: what it should reach; None: it stands beside others for comparison.
        description: what exactly is measured and what is left out.
    """

    id: str
    unit: str
    target: Target | None
    description: str


@dataclass(frozen=True)
class Context:
    """What a measurement may use.

    Attributes:
        quick: measure a small input: a smoke test, not a figure to quote.
        work: empty folder on the disk that is measured.
    """

    quick: bool
    work: Path


Measurements = Generator[Mapping[str, float], None, None]
Measure = Callable[[Context], Measurements]
"""Prepares once, then gives one value per metric id for every item taken from it."""


@dataclass(frozen=True)
class Benchmark:
    """Figures that are measured together, so that their ratios come from one run.

    Attributes:
        metrics: the figures; a quick measurement may leave some out.
        runs: how often it is measured unless said otherwise.
        measure: gives the values; None: declared, not measured yet.
    """

    metrics: tuple[Metric, ...]
    runs: int = 5
    measure: Measure | None = None


@dataclass(frozen=True)
class Cost:
    """What an action took.

    Attributes:
        wall_s: elapsed time (s).
        cpu_s: CPU time of this process, all its threads, user and system (s).
    """

    wall_s: float
    cpu_s: float


def measured(action: Callable[[], T]) -> tuple[T, Cost]:
    """Result of `action`, and the time that it took in this process."""
    gc.collect()  # so that the garbage of what ran before is not charged to it
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    result = action()
    return result, Cost(time.perf_counter() - wall_s, time.process_time() - cpu_s)
