{{ restated_by_window('int_touched_windows', 'event_ts', ['meter_id']) }}
select
    meter_id,
    epoch,
    seq,
    event_ts,
    pole_id,
    feeder_id,
    voltage_v,
    nominal_voltage_v,
    sample_interval_ms,
    {{ has_flag('flag_text', 'last_gasp') }} as is_last_gasp,
    seq_step_before,
    seq_step_after
from {{ ref('readings') }}
where
    -- The largest threshold of the fleet, one number, thins the readings out as they are read.
    voltage_v < (
        select
            {{ sag_threshold_v(
                'greatest(coalesce(max(nominal_voltage_v), 0), '
                ~ number_var('nominal_voltage_v_default') ~ ')'
            ) }}
        from {{ ref('int_meter_periods') }}
    )
    -- One condition with a joined column: a condition on the flags alone would be put to every
    -- reading.
    and case when is_received then voltage_v end < {{ sag_threshold_v('nominal_voltage_v') }}
    and {{ touched('event_ts', 'int_touched_windows') }}
