{{ restated_by_window('int_touched_windows', 'reading_hour_ts', ['pole_id', 'meter_id']) }}
with spans as (
    select
        meter_id,
        pole_id,
        epoch,
        seq,
        event_ts,
        voltage_v,
        power_kw,
        reactive_kvar,
        nominal_voltage_v,
        sample_interval_ms,
        is_received,
        {{ floor_time('event_ts', 3600) }} as reading_hour_ts,
        {{ epoch_us('event_ts') }} as from_us,
        {{ epoch_us('event_ts') }} + sample_interval_ms * 1000 as to_us
    from {{ ref('readings') }}
    where {{ touched('event_ts', 'int_touched_windows') }}
),

exploded as (
    {{ explode_range(
        'spans',
        int_div('from_us', 60000000),
        int_div('to_us - 1', 60000000),
        'minute_number'
    ) }}
),

pieces as (
    select
        *,
        {{ int_div('from_us', 60000000) }} = minute_number as is_start,
        {{ int_div('from_us', 60000000) }} = minute_number and is_received as is_received_start,
        case
            when is_received
                then {{ overlap_us(
                    'from_us', 'to_us', 'minute_number * 60000000', '(minute_number + 1) * 60000000'
                ) }}
            else 0
        end as covered_us
    from exploded
)

select
    meter_id,
    pole_id,
    epoch,
    {{ timestamp_of_us('minute_number * 60000000') }} as minute_ts,
    reading_hour_ts,
    max(nominal_voltage_v) as nominal_voltage_v,
    max(sample_interval_ms) as sample_interval_ms,
    {{ count_where('is_start') }} as stored_readings,
    {{ count_where('is_received_start') }} as received_readings,
    min(case when is_start then seq end) as min_seq,
    max(case when is_start then seq end) as max_seq,
    max(case when is_start then event_ts end) as last_event_ts,
    min(case when is_received_start then event_ts end) as first_received_ts,
    max(case when is_received_start then event_ts end) as last_received_ts,
    min(
        case
            when
                is_received_start
                and not {{ below_pu('voltage_v', 'nominal_voltage_v', 'ieee1159_interruption_pu') }}
                then event_ts
        end
    ) as first_powered_ts,
    {{ count_where(
        'is_received_start and voltage_v < ' ~ sag_threshold_v('nominal_voltage_v')
    ) }} as low_readings,
    {{ count_where(
        'is_received_start and voltage_v > ' ~ high_threshold_v('nominal_voltage_v')
    ) }} as high_readings,
    min(case when is_received_start then voltage_v end) as min_voltage_v,
    max(case when is_received_start then voltage_v end) as max_voltage_v,
    sum(case when is_received_start then voltage_v end) as voltage_sum_v,
    sum(case when is_received_start then voltage_v * voltage_v end) as voltage_square_sum_v2,
    sum(covered_us) / cast(1000000 as {{ type_double() }}) as covered_s,
    sum(power_kw * covered_us) / cast(3600000000 as {{ type_double() }}) as energy_kwh,
    sum(reactive_kvar * covered_us) / cast(3600000000 as {{ type_double() }}) as reactive_kvarh,
    {{ count_where('covered_us > 0 and reactive_kvar is null') }} as pieces_without_reactive
from pieces
group by meter_id, pole_id, epoch, minute_number, reading_hour_ts
