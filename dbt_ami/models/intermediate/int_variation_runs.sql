-- From its last gasp to the reading that shows power again a meter is in an event, whatever limits
-- its readings of that time cross.
with dark as (
    select distinct
        readings.meter_id,
        readings.epoch,
        readings.seq
    from {{ ref('int_variation_readings') }} as readings
    inner join {{ ref('int_outages') }} as outages
        on
            readings.meter_id = outages.meter_id
            and readings.event_ts >= outages.start_ts
            and readings.event_ts <= outages.until_ts
    where readings.side = 'low'
),

outside as (
    select
        readings.meter_id,
        readings.epoch,
        readings.seq,
        readings.event_ts,
        readings.pole_id,
        readings.feeder_id,
        readings.voltage_v,
        readings.nominal_voltage_v,
        readings.sample_interval_ms,
        readings.side,
        readings.enters or dark.meter_id is not null as enters,
        readings.seq - lag(readings.seq) over in_order as seq_step,
        {{ epoch_us('readings.event_ts') }}
        - lag({{ epoch_us('readings.event_ts') }}) over in_order as us_step
    from {{ ref('int_variation_readings') }} as readings
    left join dark
        on
            readings.meter_id = dark.meter_id
            and readings.epoch = dark.epoch
            and readings.seq = dark.seq
    where readings.side != 'normal'
    window in_order as (
        partition by readings.meter_id, readings.epoch, readings.side
        order by readings.seq
    )
),

{{ refuted_gaps('outside', ref('int_variation_neighbours')) }},

numbered as (
    select
        outside.*,
        case
            when outside.seq_step = 1
                then {{ clock_runs_on('1', 'outside.us_step', 'outside.sample_interval_ms') }}
            else coalesce(
                {{ clock_runs_on(
                    '1',
                    epoch_us('outside.event_ts') ~ ' - ' ~ epoch_us('reading_before.event_ts'),
                    'outside.sample_interval_ms'
                ) }},
                false
            )
        end as follows_reading,
        sum(
            case
                when
                    refuted_gaps.meter_id is null
                    and {{ may_join_low_run(
                        'outside.seq_step', 'outside.us_step', 'outside.sample_interval_ms'
                    ) }}
                    then 0
                else 1
            end
        ) over (
            partition by outside.meter_id, outside.epoch, outside.side
            order by outside.seq
            rows between unbounded preceding and current row
        ) as run_number
    from outside
    left join refuted_gaps
        on
            outside.meter_id = refuted_gaps.meter_id
            and outside.epoch = refuted_gaps.epoch
            and outside.seq = refuted_gaps.seq
    left join {{ ref('int_variation_neighbours') }} as reading_before
        on
            outside.meter_id = reading_before.meter_id
            and outside.epoch = reading_before.epoch
            and outside.seq - 1 = reading_before.seq
),

entered as (
    select
        *,
        min(case when enters then seq end) over (
            partition by meter_id, epoch, side, run_number
        ) as entry_seq
    from numbered
),

runs as (
    select
        meter_id,
        epoch,
        side,
        min(seq) as first_seq,
        max(seq) as last_seq,
        min_by(event_ts, seq) as start_ts,
        max_by(event_ts, seq) as end_ts,
        min_by(pole_id, seq) as pole_id,
        {{ first_text('feeder_id', 'seq') }} as feeder_id,
        min_by(nominal_voltage_v, seq) as nominal_voltage_v,
        min(sample_interval_ms) as sample_interval_ms,
        count(*) as sample_count,
        case when side = 'low' then min(voltage_v) else max(voltage_v) end as extreme_voltage_v,
        max(case when seq = entry_seq and follows_reading then 1 else 0 end) = 1
            as begins_after_reading
    from entered
    where seq >= entry_seq
    group by meter_id, epoch, side, run_number
)

select
    runs.meter_id,
    runs.epoch,
    runs.side,
    runs.first_seq,
    runs.last_seq,
    runs.start_ts,
    runs.end_ts,
    runs.pole_id,
    runs.feeder_id,
    runs.nominal_voltage_v,
    runs.sample_interval_ms,
    runs.sample_count,
    runs.last_seq - runs.first_seq + 1 - runs.sample_count as missing_count,
    (runs.last_seq - runs.first_seq + 1)
    * runs.sample_interval_ms / cast(1000 as {{ type_double() }}) as duration_s,
    runs.extreme_voltage_v,
    runs.begins_after_reading,
    coalesce(
        {{ clock_runs_on(
            '1',
            epoch_us('reading_after.event_ts') ~ ' - ' ~ epoch_us('runs.end_ts'),
            'runs.sample_interval_ms'
        ) }},
        false
    ) as ends_before_reading
from runs
left join {{ ref('int_variation_neighbours') }} as reading_after
    on
        runs.meter_id = reading_after.meter_id
        and runs.epoch = reading_after.epoch
        and runs.last_seq + 1 = reading_after.seq
