with seen as (
    select distinct meter_id from {{ ref('int_meter_hour_edges') }}
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

steps_over_hours as (
    select
        edges.meter_id,
        {{ epoch_us('edges.first_event_ts') }}
        - lag({{ epoch_us('edges.last_event_ts') }}) over in_order as step_us,
        edges.first_seq - lag(edges.last_seq) over in_order as seq_step
    from {{ ref('int_meter_hour_edges') }} as edges
    left join registered on edges.meter_id = registered.meter_id
    where registered.meter_id is null
    window in_order as (
        partition by edges.meter_id
        order by edges.hour_ts
    )
),

counted_steps as (
    select
        meter_id,
        step_us,
        steps
    from {{ ref('int_undeclared_steps') }}
    union all
    select
        meter_id,
        step_us,
        1 as steps
    from steps_over_hours
    where seq_step = 1 and step_us > 0
),

ranked as (
    select
        meter_id,
        step_us,
        sum(steps) over (
            partition by meter_id
            order by step_us
            rows between unbounded preceding and current row
        ) as steps_up_to,
        sum(steps) over (partition by meter_id) as all_steps
    from (
        select
            meter_id,
            step_us,
            sum(steps) as steps
        from counted_steps
        group by meter_id, step_us
    ) as grouped
),

-- The two steps in the middle of all, which are one and the same for an odd number of them.
measured as (
    select
        meter_id,
        (
            min(case when steps_up_to * 2 >= all_steps then step_us end)
            + min(case when steps_up_to * 2 > all_steps then step_us end)
        ) / cast(2 as {{ type_double() }}) as median_us
    from ranked
    group by meter_id
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
