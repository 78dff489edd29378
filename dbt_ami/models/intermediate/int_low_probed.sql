{{ restated_by_window('int_probed_windows', 'event_ts', ['meter_id']) }}
select
    readings.meter_id,
    readings.epoch,
    readings.seq,
    readings.event_ts
from {{ ref('readings') }} as readings
inner join {{ ref('int_low_probes') }} as probes
    on
        readings.meter_id = probes.meter_id
        and readings.epoch = probes.epoch
        and readings.seq = probes.seq
where readings.is_received and {{ touched('readings.event_ts', 'int_probed_windows') }}
