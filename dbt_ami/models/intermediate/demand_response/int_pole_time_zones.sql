with registered as (
    select
        pole_id,
        time_zone
    from {{ ref('int_meter_service') }}
    where time_zone is not null
    qualify
        row_number() over (
            partition by pole_id
            order by service_from desc, time_zone asc
        ) = 1
),

poles as (
    select pole_id from {{ ref('int_meter_service') }}
    union distinct
    select pole_id from {{ ref('int_meter_hour_parts') }}
)

select
    poles.pole_id,
    coalesce(registered.time_zone, '{{ var("time_zone_default") }}') as time_zone
from poles
left join registered on poles.pole_id = registered.pole_id
