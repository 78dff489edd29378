{{ restated_by_window('int_return_windows', 'event_ts', ['meter_id']) }}
-- Minutes tell where to look, so that few files are read and few readings kept.
select
    readings.meter_id,
    readings.epoch,
    readings.seq,
    readings.event_ts,
    minutes.minute_ts,
    minutes.silent_from_ts,
    case
        when
            {{ below_pu(
                'readings.voltage_v', 'readings.nominal_voltage_v', 'ieee1159_interruption_pu'
            ) }}
            then false
        else true
    end as is_powered
from {{ ref('readings') }} as readings
inner join {{ ref('int_return_minutes') }} as minutes
    on
        readings.meter_id = minutes.meter_id
        and {{ floor_time('readings.event_ts', 60) }} = minutes.minute_ts
where
    readings.is_received
    and {{ in_windows_of('readings.event_ts', 'int_return_minutes', 'minute_ts') }}
    and {{ touched('readings.event_ts', 'int_return_windows') }}
