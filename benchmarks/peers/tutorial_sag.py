"""Sag detection as SQL tutorials write it: gaps and islands by two numberings of every reading.

The difference of a reading's number among its meter's readings and its number among the low (or
not low) ones of them stays the same within an island. Every reading is sorted for it, twice. It
takes one threshold for all meters, counts readings for seconds and does not ask what is missing.
"""

from __future__ import annotations

from typing import Final

ISLANDS_SQL: Final = """
with numbered as (
    select
        meter_id,
        pole_id,
        event_ts,
        voltage_v,
        voltage_v < 220 as is_low,
        row_number() over (partition by meter_id order by event_ts)
        - row_number() over (partition by meter_id, voltage_v < 220 order by event_ts) as island
    from lake.compacted_readings
)

select
    meter_id,
    min(pole_id) as pole_id,
    min(event_ts) as start_ts,
    max(event_ts) as end_ts,
    count(*) as sample_count,
    min(voltage_v) as min_voltage_v,
    avg(voltage_v) as mean_voltage_v
from numbered
where is_low
group by meter_id, island
having count(*) >= 5
"""
