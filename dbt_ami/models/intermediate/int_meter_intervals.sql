with seen as (
    select distinct meter_id from {{ ref('stg_readings') }}
),

registered as (
    select
        meter_id,
        sample_interval_ms
    from {{ ref('stg_meters') }}
    where sample_interval_ms is not null
    qualify
        row_number() over (
            partition by meter_id
            order by valid_from desc, sample_interval_ms asc
        ) = 1
),

undeclared as (
    select seen.meter_id
    from seen
    left join registered on seen.meter_id = registered.meter_id
    where registered.meter_id is null
),

steps as (
    select
        readings.meter_id,
        {{ epoch_us('readings.event_ts') }}
        - lag({{ epoch_us('readings.event_ts') }}) over in_order as step_us,
        readings.seq - lag(readings.seq) over in_order as seq_step
    from {{ ref('stg_readings') }} as readings
    inner join undeclared on readings.meter_id = undeclared.meter_id
    window in_order as (
        partition by readings.meter_id
        order by readings.event_ts, readings.seq
    )
),

consecutive_steps as (
    select
        meter_id,
        step_us
    from steps
    where seq_step = 1 and step_us > 0
),

measured as (
    {{ group_quantiles('consecutive_steps', ['meter_id'], 'step_us', {'median_us': 0.5}) }}
),

meters as (
    select meter_id from seen
    union distinct
    select meter_id from {{ ref('stg_meters') }}
)

select
    meters.meter_id,
    case
        when registered.meter_id is not null then registered.sample_interval_ms
        when measured.meter_id is not null
            then greatest(1, cast(round(measured.median_us / 1000) as {{ dbt.type_bigint() }}))
        else {{ (var('sample_interval_s_default') * 1000) | round | int }}
    end as sample_interval_ms,
    case
        when registered.meter_id is not null then 'registry'
        when measured.meter_id is not null then 'readings'
        else 'default'
    end as interval_source
from meters
left join registered on meters.meter_id = registered.meter_id
left join measured on meters.meter_id = measured.meter_id
