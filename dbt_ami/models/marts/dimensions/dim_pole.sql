with seen as (
    select
        pole_id,
        min(first_event_ts) as first_seen_ts,
        max(last_event_ts) as last_seen_ts
    from {{ ref('int_meter_hour_edges') }}
    group by pole_id
),

poles as (
    select pole_id from {{ ref('int_pole_sites') }}
    union distinct
    select pole_id from {{ ref('int_meter_hours') }}
),

meters as (
    select
        pole_id,
        {{ count_where('is_registered') }} as meters_registered,
        {{ count_where('not is_registered') }} as meters_unregistered
    from {{ ref('dim_meter') }}
    group by pole_id
),

transformers as (
    select
        pole_id,
        coalesce(transformer_id, pole_id) as transformer_id,
        max(rated_kva) as rated_kva,
        {{ count_where('rated_kva is null') }} as meters_without_rating
    from {{ ref('dim_meter') }}
    where is_registered
    group by pole_id, coalesce(transformer_id, pole_id)
),

ratings as (
    select
        pole_id,
        count(*) as transformers,
        case when sum(meters_without_rating) = 0 then sum(rated_kva) end as rated_kva
    from transformers
    group by pole_id
)

select
    poles.pole_id,
    sites.feeder_id,
    sites.latitude,
    sites.longitude,
    ratings.rated_kva,
    seen.first_seen_ts,
    seen.last_seen_ts,
    coalesce(sites.time_zone, '{{ var("time_zone_default") }}') as time_zone,
    sites.pole_id is not null as is_registered,
    coalesce(ratings.transformers, 0) as transformers,
    coalesce(meters.meters_registered, 0) as meters_registered,
    coalesce(meters.meters_unregistered, 0) as meters_unregistered
from poles
left join {{ ref('int_pole_sites') }} as sites on poles.pole_id = sites.pole_id
left join seen on poles.pole_id = seen.pole_id
left join meters on poles.pole_id = meters.pole_id
left join ratings on poles.pole_id = ratings.pole_id
