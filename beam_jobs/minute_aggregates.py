"""Provisional aggregates: reads `Enriched` batches, gives tables of `minute_agg_pole_live`.

Per pole and window of `event_ts`: readings, meters, mean, least and greatest voltage, and total
power as the mean per meter summed over meters. A window speaks when the watermark passes its end
and again when late readings restate it; readings later than an hour no longer count here. Copies
of a reading count as often as they arrive. The dbt models are exact in both respects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, IntervalWindow, TimestampedValue
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import PaneInfo

from ami_contract.live import LIVE_AGGREGATE_SCHEMA
from beam_jobs.elements import Enriched
from beam_jobs.group_messages import utc_now

ALLOWED_LATENESS_S: Final = 3600
_US: Final = 1_000_000


@dataclass
class Aggregate:
    """Sums over some readings of one pole and window.

    Attributes:
        voltage_sum_v, voltage_min_v, voltage_max_v: over all readings.
        power: per meter, sum of power [kW] and number of readings.
    """

    voltage_sum_v: float = 0.0
    voltage_min_v: float = float("inf")
    voltage_max_v: float = float("-inf")
    power: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, other: Aggregate) -> Aggregate:
        """Take the readings of `other` in; returns itself."""
        self.voltage_sum_v += other.voltage_sum_v
        self.voltage_min_v = min(self.voltage_min_v, other.voltage_min_v)
        self.voltage_max_v = max(self.voltage_max_v, other.voltage_max_v)
        for meter, (power_kw, count) in other.power.items():
            before_kw, before = self.power.get(meter, (0.0, 0))
            self.power[meter] = (before_kw + power_kw, before + count)
        return self

    @property
    def readings(self) -> int:
        """How many readings."""
        return sum(count for _, count in self.power.values())

    def columns(self) -> dict[str, Any]:
        """The measured columns of a row of `minute_agg_pole_live`."""
        return {
            "readings": self.readings,
            "meters": len(self.power),
            "voltage_mean_v": self.voltage_sum_v / self.readings,
            "voltage_min_v": self.voltage_min_v,
            "voltage_max_v": self.voltage_max_v,
            "power_kw": sum(power_kw / count for power_kw, count in self.power.values()),
        }


def aggregate(rows: pa.Table, window_s: int) -> dict[tuple[str, int], Aggregate]:
    """Aggregates of `rows` (`ROW_SCHEMA`) by pole and start of the window (Unix seconds)."""
    starts = pc.multiply(pc.divide(rows["event_ts"].cast(pa.int64()), window_s * _US), window_s)
    groups = (
        rows.select(["pole_id", "meter_id", "voltage_v", "power_kw"])
        .append_column("window_start", starts)
        .group_by(["pole_id", "window_start", "meter_id"])
        .aggregate(
            [
                ("voltage_v", "sum"),
                ("voltage_v", "min"),
                ("voltage_v", "max"),
                ("power_kw", "sum"),
                ("power_kw", "count"),
            ]
        )
    )
    found: dict[tuple[str, int], Aggregate] = {}
    for group in groups.to_pylist():
        one = Aggregate(
            group["voltage_v_sum"],
            group["voltage_v_min"],
            group["voltage_v_max"],
            {group["meter_id"]: (group["power_kw_sum"], group["power_kw_count"])},
        )
        found.setdefault((group["pole_id"], group["window_start"]), Aggregate()).add(one)
    return found


class _Merge(beam.CombineFn):
    def create_accumulator(self) -> Aggregate:
        return Aggregate()

    def add_input(self, mutable_accumulator: Aggregate, element: Aggregate) -> Aggregate:
        return mutable_accumulator.add(element)

    def merge_accumulators(self, accumulators: Iterable[Aggregate]) -> Aggregate:
        merged = Aggregate()
        for accumulator in accumulators:
            merged.add(accumulator)
        return merged

    def extract_output(self, accumulator: Aggregate) -> Aggregate:
        return accumulator


class AggregatePoles(beam.PTransform):
    """`Enriched` batches → tables of `minute_agg_pole_live`, a row per pole, window and pane.

    Args:
        window_s: length of a window, in whole seconds.
        now: clock of `computed_ts`.
    """

    def __init__(self, window_s: int, *, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__()
        self._window_s = window_s
        self._now = now

    def expand(self, pcoll: beam.PCollection) -> beam.PCollection:
        """Apply to a collection of `Enriched`."""
        window_s, now = self._window_s, self._now

        def keyed(enriched: Enriched) -> Iterator[TimestampedValue]:
            for (pole_id, start), found in aggregate(enriched.rows, window_s).items():
                yield TimestampedValue((pole_id, found), Timestamp(start))

        def row(
            element: tuple[str, Aggregate],
            window: IntervalWindow = beam.DoFn.WindowParam,
            pane: PaneInfo = beam.DoFn.PaneInfoParam,
        ) -> pa.Table:
            pole_id, found = element
            columns = {
                "pole_id": pole_id,
                "window_start": window.start.to_utc_datetime(has_tz=True),
                "window_s": window_s,
                **found.columns(),
                "pane": pane.index,
                "computed_ts": now(),
            }
            return pa.Table.from_pylist([columns], LIVE_AGGREGATE_SCHEMA)

        return (
            pcoll
            | "Partial" >> beam.FlatMap(keyed).with_output_types(tuple[str, Aggregate])
            | "Window"
            >> beam.WindowInto(
                FixedWindows(window_s),
                trigger=AfterWatermark(late=AfterCount(1)),
                accumulation_mode=AccumulationMode.ACCUMULATING,
                allowed_lateness=ALLOWED_LATENESS_S,
            )
            | "Merge" >> beam.CombinePerKey(_Merge())
            | "Row" >> beam.Map(row).with_output_types(pa.Table)
        )
