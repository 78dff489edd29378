with candidates as (
    select
        pole_id,
        feeder_id,
        latitude,
        longitude,
        time_zone,
        row_number() over (
            partition by pole_id
            order by (case when feeder_id is null then 1 else 0 end), valid_from desc, feeder_id asc
        ) as feeder_rank,
        row_number() over (
            partition by pole_id
            order by
                (case when latitude is null or longitude is null then 1 else 0 end),
                valid_from desc,
                latitude asc,
                longitude asc
        ) as place_rank,
        row_number() over (
            partition by pole_id
            order by (case when time_zone is null then 1 else 0 end), valid_from desc, time_zone asc
        ) as zone_rank
    from {{ ref('stg_meters') }}
)

select
    pole_id,
    max(case when feeder_rank = 1 then feeder_id end) as feeder_id,
    max(case when place_rank = 1 then latitude end) as latitude,
    max(case when place_rank = 1 then longitude end) as longitude,
    max(case when zone_rank = 1 then time_zone end) as time_zone
from candidates
group by pole_id
