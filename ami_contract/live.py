"""Provisional aggregates: gives the fields of `minute_agg_pole_live`, which the stream writes.

One row per pole, window and pane. A later pane restates its window; the row with the greatest
`pane` (of the greatest `computed_ts`, once a job was replaced) counts.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from ami_contract.reading import TIMESTAMP, Field, arrow_schema

LIVE_AGGREGATE_FIELDS: Final[tuple[Field, ...]] = (
    Field("pole_id", pa.string(), "", True, "Pole."),
    Field("window_start", TIMESTAMP, "UTC", True, "Start of the window of event_ts."),
    Field("window_s", pa.int64(), "s", True, "Length of the window.", 1),
    Field("readings", pa.int64(), "", True, "Readings, copies included.", 1),
    Field("meters", pa.int64(), "", True, "Meters that sent a reading.", 1),
    Field("voltage_mean_v", pa.float64(), "V", True, "Mean of the readings."),
    Field("voltage_min_v", pa.float64(), "V", True, "Least reading."),
    Field("voltage_max_v", pa.float64(), "V", True, "Greatest reading."),
    Field(
        "power_kw",
        pa.float64(),
        "kW",
        True,
        "Active power of the pole: mean per meter, then the sum over meters.",
    ),
    Field("pane", pa.int64(), "", True, "0 at the window's end, + 1 per restatement.", 0),
    Field("computed_ts", TIMESTAMP, "UTC", True, "When it was computed."),
)
LIVE_AGGREGATE_SCHEMA: Final = arrow_schema(LIVE_AGGREGATE_FIELDS)
