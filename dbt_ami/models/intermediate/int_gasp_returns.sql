{{ restated_by_window('int_touched_windows', 'event_ts', ['meter_id']) }}
{%- set is_restated_gasp = 'is_last_gasp and ' ~ touched('event_ts', 'int_touched_windows') %}
with gasps as (
    select
        meter_id,
        epoch,
        seq,
        event_ts
    from {{ ref('int_variation_readings') }}
    where {{ is_restated_gasp }}
),

powered as (
    select
        meter_id,
        event_ts
    from {{ ref('readings') }}
    where
        is_received
        and not {{ below_pu('voltage_v', 'nominal_voltage_v', 'ieee1159_interruption_pu') }}
        and {{ in_windows_of(
            'event_ts', 'int_variation_readings', 'event_ts', is_restated_gasp
        ) }}
)

select
    gasps.meter_id,
    gasps.epoch,
    gasps.seq,
    gasps.event_ts,
    min(powered.event_ts) as restored_ts
from gasps
left join powered
    on
        gasps.meter_id = powered.meter_id
        and {{ floor_time('gasps.event_ts', 3600) }} = {{ floor_time('powered.event_ts', 3600) }}
        and gasps.event_ts < powered.event_ts
group by gasps.meter_id, gasps.epoch, gasps.seq, gasps.event_ts
